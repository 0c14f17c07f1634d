"""Learning: embeddings, heads and rounds. Nothing here speaks HTTP."""
