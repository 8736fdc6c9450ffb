"""What happened, kept: the store, its metrics and reliability statistics, episodes, replay and checkpoints."""
