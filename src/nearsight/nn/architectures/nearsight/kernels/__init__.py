"""Compiled passes of the network `nearsight` over chunks of bonds."""
