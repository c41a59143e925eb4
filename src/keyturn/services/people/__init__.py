"""Users, their groups and projects, and how they sign in."""
