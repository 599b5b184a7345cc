"""NumPy arrays: the extension module, and how problems are computed on the CPU."""
