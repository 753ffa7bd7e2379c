"""Parameters updated: data sets, targets, loss, loop, checkpoints, configuration."""
