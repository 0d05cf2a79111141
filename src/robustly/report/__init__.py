"""What a reader sees of a record: HTML, terminal, JUnit, gate, comparison. Reads records only, and never imports torch."""
