"""Compiled passes of the network `xia2025`, and variants that recompute instead of keeping."""
