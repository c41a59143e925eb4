"""Identity providers: the ways in which people prove who they are. The password is the first."""
