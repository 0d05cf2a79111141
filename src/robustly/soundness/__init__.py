"""Can this evaluation be believed? Cheap probes of the model before any attack."""
