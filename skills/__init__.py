"""The skill library: skills, registry, policies, learners, rewards."""
