"""Interval arithmetic on batches: boxes around what a float32 network can compute, a file a kind."""
