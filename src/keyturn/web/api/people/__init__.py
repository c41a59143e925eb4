"""Users, groups, projects and attributes."""
