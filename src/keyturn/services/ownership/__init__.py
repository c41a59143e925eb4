"""Service accounts, and what becomes of them and of keys when their owners leave."""
