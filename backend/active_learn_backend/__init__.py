"""Label Studio ML backend that orders the annotation queue."""
