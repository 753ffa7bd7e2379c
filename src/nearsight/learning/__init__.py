"""Training: configuration, optimiser, loop, checkpoints and runs."""
