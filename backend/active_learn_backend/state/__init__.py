"""What the backend keeps on disk: the database, its leases, and the folders beside it."""
