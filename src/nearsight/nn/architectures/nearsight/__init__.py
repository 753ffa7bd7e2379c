"""The default network: a linear baseline, and an O(2)-equivariant network per pair of elements in bond frames."""
