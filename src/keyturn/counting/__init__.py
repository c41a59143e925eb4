"""The metrics of a server: their table, and the memory in which they are counted."""
