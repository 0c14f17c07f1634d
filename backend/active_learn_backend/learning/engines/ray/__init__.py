"""The engine of a Ray cluster, or of Ray on this machine."""
