"""Foreign files to structures, basis sets and operators."""
