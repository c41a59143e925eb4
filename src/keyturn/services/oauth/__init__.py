"""OAuth 2.0: the endpoints for clients, and device logins."""
