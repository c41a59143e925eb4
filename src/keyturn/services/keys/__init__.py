"""Keys: make, list, rotate, revoke and import them."""
