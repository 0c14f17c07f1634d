"""Routes of the web process: parse, hand on, answer. Nothing is learned here."""
