"""Protocols of the paper."""
