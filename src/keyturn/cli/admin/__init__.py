"""`keyturn admin …`: commands on the database of this server."""
