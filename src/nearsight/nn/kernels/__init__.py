"""Fast variants of single operations; each has a slow twin it is tested against."""
