"""Operators in a localised basis as blocks of atom pairs, calculations, and the files that hold them."""
