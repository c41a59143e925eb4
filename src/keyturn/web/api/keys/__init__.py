"""Keys of the caller, and system keys."""
