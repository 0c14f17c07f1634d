"""Regions: parts of tasks, their features, and the tags that the heads of regions learn."""
