"""Device logins."""
