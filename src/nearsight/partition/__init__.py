"""Partitions of neighbour graphs: labelled atoms and a virtual halo (no tensors, no physics)."""
