"""Secrets from standard input: passwords, keys and tokens."""

import sys

from keyturn.errors import InvalidInput

MAX_SECRET_BYTES = 4096
_BYTE_ORDER_MARK = "\ufeff"


def read_stdin(field: str) -> str:
    """Return standard input as text, whatever the locale.

    Raise `InvalidInput`, which tells nothing of what was read, for bytes that are no text, for more than a
    secret can be, and for a byte order mark, which some shells put before what they pipe: nobody means it.
    """
    given = sys.stdin.buffer.read(MAX_SECRET_BYTES + 1)
    if len(given) > MAX_SECRET_BYTES:
        raise InvalidInput(field, f"Standard input is longer than {MAX_SECRET_BYTES} bytes.")
    text = _decoded(given)
    if text is None:
        raise InvalidInput(field, "Standard input is not UTF-8 text.")
    if text.startswith(_BYTE_ORDER_MARK):
        raise InvalidInput(
            field,
            "Standard input begins with a byte order mark, which is not part of a secret: pipe it without "
            "one (in PowerShell, $OutputEncoding = [Text.UTF8Encoding]::new($false)).",
        )
    return text


def _decoded(given: bytes) -> str | None:
    """Return the text, None if it is none: an error of the decoder would carry all that was read."""
    try:
        return given.decode("utf-8")
    except UnicodeDecodeError:
        return None
