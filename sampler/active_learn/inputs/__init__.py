"""What callers hand in: candidates of any kind, read into one form."""
