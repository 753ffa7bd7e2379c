"""Which atoms are where: structures, neighbours, graphs."""
