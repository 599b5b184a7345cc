"""Convolution on CUDA devices, for CuPy arrays; imported only when a call is given one."""
