"""Potential and field of charges at the atoms, for any periodicity."""
