"""What compiled passes of all architectures share: BLAS without Python, small products, threads, compilation."""
