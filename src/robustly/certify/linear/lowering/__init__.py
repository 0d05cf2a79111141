"""From the operations of a traced network to a program: a file a kind of operation."""
