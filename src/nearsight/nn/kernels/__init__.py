"""Tools of compiled loops that all architectures share: BLAS without Python, small products, threads, compilation."""
