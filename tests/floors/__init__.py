"""Keyturn on the oldest packages that it says it works with: `make floors`."""
