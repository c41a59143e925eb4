"""Places in stored pages that are filled when they are served."""

HOST = "http://127.0.0.1:8400"
"""The address of the server in every example of the sources."""
HOST_PLACE = "https://keyturn-host-place.invalid"
"""Stands in stored pages for the address under which the reader sees this server."""
REPOSITORY_PLACE = "https://keyturn-repository-place.invalid"
"""Stands before links to files of the repository that are no pages."""
