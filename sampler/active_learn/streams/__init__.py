"""Selection from an iterator whose length is not known."""
