"""Quantum transport: electrons that pass from one lead through a device into another, from H and S alone."""
