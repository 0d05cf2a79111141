"""What a reader sees of a record: HTML, terminal, JUnit, gate, comparison. Reads records only, without torch."""
