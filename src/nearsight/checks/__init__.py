"""What is wrong with a calculation, or with a set of them, before a network learns it."""
