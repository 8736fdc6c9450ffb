"""The daemon: command line, configuration, operating states, control loop, scheduler, safety, learner process."""
