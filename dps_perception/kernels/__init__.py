"""Inner loops over pixels, compiled by Numba on first use and kept on disk; for GPUs, in Triton."""
