"""What the status page shows of a project, as plain records; no HTML here."""
