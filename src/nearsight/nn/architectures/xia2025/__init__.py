"""The network of Xia, Kaniselvan et al. (ICML 2025): SO(2) convolutions, attention, augmented partitions."""
