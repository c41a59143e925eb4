"""The code that a person types to sign a device in (RFC 8628, section 6.1).

    WDJB-MJHT
    ^^^^ ^^^^
    8 consonants without Y, 34 bits: nobody reads a 0 for an O, and no word comes up by chance

The device itself holds another code, of 256 bits, which is shown to nobody.
"""

import hashlib
import re

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
LENGTH = 8
RANDOM_BYTES = 16
"""How many random bytes `make_user_code` needs: so many that no letter is likelier than another to notice."""

_READ_OVER = re.compile(r"[\s-]")


def make_user_code(random: bytes) -> str:
    """Make a code from `RANDOM_BYTES` random bytes, as it is shown."""
    number = int.from_bytes(random)
    letters = ""
    for _ in range(LENGTH):
        number, drawn = divmod(number, len(ALPHABET))
        letters += ALPHABET[drawn]
    return f"{letters[:4]}-{letters[4:]}"


def read_user_code(typed: str) -> str | None:
    """Return the code as it is shown; None if it can be none.

    People type it: case, spaces and hyphens do not matter (RFC 8628, section 6.1).
    """
    letters = _READ_OVER.sub("", typed[:100]).upper()
    if len(letters) != LENGTH or not set(letters) <= set(ALPHABET):
        return None
    return f"{letters[:4]}-{letters[4:]}"


def digest_user_code(code: str) -> bytes:
    """Return what a code is stored and looked up by."""
    return hashlib.sha256(b"user code " + code.encode("ascii")).digest()


def digest_device_code(code: str) -> bytes:
    """Return what the device's own code is stored and looked up by."""
    return hashlib.sha256(b"device code " + code.encode("utf-8", "surrogatepass")).digest()
