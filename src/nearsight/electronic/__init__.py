"""Physics from H and S alone."""
