"""Identity providers: the ways in which people prove who they are. The passphrase is the first."""
