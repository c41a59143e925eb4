"""Verifying far from the database: a copy of what decides, kept true by the feed; introspection without it.

Needs nothing of the server: no database, no web framework.
"""
