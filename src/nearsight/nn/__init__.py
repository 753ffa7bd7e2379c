"""Everything with learnable parameters."""
