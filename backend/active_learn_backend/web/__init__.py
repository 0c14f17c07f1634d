"""The web process: Label Studio's protocol, the status page, health and metrics."""
