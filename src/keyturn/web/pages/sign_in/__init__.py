"""Signing in and out, set-up and invitations."""
