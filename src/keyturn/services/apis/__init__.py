"""The APIs that are registered here, their scopes, and who may hold them."""
