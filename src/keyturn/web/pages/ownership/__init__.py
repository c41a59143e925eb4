"""Service accounts, and users who leave."""
