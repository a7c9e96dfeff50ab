"""A step's forward and backward pass as one CUDA graph."""
