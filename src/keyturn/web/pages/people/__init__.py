"""Profiles, users, groups and projects."""
