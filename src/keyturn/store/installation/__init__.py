"""The installation's own row, and everything that is encrypted under its root key."""
