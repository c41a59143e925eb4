"""The head of a seal: as much as the database compares of an encrypted secret.

    version  root key id  …
    1 byte   8 bytes

Two seals with one head were made in one format under one root key. The rest is drawn in
`services.installation.vault`.
"""

HEAD_BYTES = 9


def head_of(seal: bytes) -> bytes:
    """Return the head, which is shorter only where `seal` is none."""
    return seal[:HEAD_BYTES]
