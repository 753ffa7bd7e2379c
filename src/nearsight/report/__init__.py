"""Figures, tables and the HTML page; computes nothing."""
