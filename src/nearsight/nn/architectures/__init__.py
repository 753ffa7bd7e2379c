"""Networks, each a folder with its model, configuration, batches, kernels and presets; `registry` lists them."""
