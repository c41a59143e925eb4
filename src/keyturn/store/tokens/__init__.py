"""Signing keys, and tokens that were revoked by themselves."""
