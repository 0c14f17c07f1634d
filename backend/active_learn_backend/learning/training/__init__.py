"""Training of the team's own model: the data, the command, and what becomes of its model."""
