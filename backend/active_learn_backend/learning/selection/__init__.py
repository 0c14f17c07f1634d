"""Which tasks are queued next: rankings, the audit set, streams."""
