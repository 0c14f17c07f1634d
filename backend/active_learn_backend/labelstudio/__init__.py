"""The only rooms that speak to Label Studio."""
