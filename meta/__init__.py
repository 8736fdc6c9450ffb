"""Fast adaptation to drift: dynamics models, meta-learning, planning with them, and a test for changes.

`transitions` prepares stored attempts. `dynamics` and `dynamics_learner` are probabilistic ensembles, `grbal` a model
that adapts to the last moments by a `meta_learner` (`maml`, or learn2learn's by `learn2learn_adapter`). `planner` acts
on either as a `planning_model`. An `expectation` is an ensemble with its calm errors, made by `expectation_learner`,
of `robot_steps`; `change_point` says when errors have changed. Nothing here knows the daemon.
"""
