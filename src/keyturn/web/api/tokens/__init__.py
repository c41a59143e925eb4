"""The exchange, the login by password, and `/verify`."""
