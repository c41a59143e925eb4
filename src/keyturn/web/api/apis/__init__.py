"""Registered APIs."""
