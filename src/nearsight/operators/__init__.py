"""H and S as block-sparse real-space operators, and the store that keeps them."""
