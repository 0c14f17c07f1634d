"""Algorithms that select points: A-optimal design, k-means, volume sampling, streams."""
