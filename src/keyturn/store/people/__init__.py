"""Users, groups, projects, sessions and service accounts."""
