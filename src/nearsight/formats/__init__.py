"""Readers of foreign files: structures, basis sets and matrices."""
