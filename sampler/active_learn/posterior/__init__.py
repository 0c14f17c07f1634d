"""The Gaussian posterior of a linear head: Fisher information, kernels, updates."""
