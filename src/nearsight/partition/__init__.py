"""Graphs cut into pieces: labelled atoms and virtual halo (no tensors, no physics)."""
