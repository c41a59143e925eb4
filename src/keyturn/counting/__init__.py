"""What a server counts of its work: the table of its metrics, and the memory that they are counted in."""
