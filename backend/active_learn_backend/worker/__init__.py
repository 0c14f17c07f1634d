"""The worker: its loop over projects, and one round of a project."""
