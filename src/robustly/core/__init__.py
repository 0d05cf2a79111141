"""Keys, records, specs and errors: what everything else stands on."""
