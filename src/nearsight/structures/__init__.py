"""Structures, their neighbour graphs and their pair distributions."""
