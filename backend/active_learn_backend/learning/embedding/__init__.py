"""Embeddings of tasks, and the cache that keeps them."""
