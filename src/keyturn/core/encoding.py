"""Strict text encodings: one spelling per value.

A decoder here refuses whatever its encoder would not have written, so that no two texts stand for
one value. (Lenient base64 lets several strings pass for one signature.)
"""

import binascii
import re
import zlib

BASE62_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

_BASE64URL = re.compile(rb"[A-Za-z0-9_-]*")


class EncodingError(ValueError):
    """The text is not what the encoder would have written."""


def base62_encode(number: int, width: int) -> str:
    """Write `number` in exactly `width` base62 digits, zero-padded; raise `EncodingError` if it cannot."""
    if number < 0 or number >= 62**width:
        raise EncodingError(f"the number does not fit {width} base62 digits")
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(BASE62_ALPHABET[digit])
    return "".join(reversed(digits))


def base62_from_random(random: bytes, width: int) -> str:
    """Turn random bytes into `width` uniform base62 characters.

    Bytes of 248 and above are skipped, because 248 is the largest multiple of 62 in a byte and the
    rest would favour the first digits. Raise `EncodingError` when too few bytes remain; with
    `2 * width` bytes that happens less than once in 10**20 calls for the widths used here.
    """
    usable = [byte % 62 for byte in random if byte < 248]
    if len(usable) < width:
        raise EncodingError("too few random bytes")
    return "".join(BASE62_ALPHABET[digit] for digit in usable[:width])


_PAIRS = tuple(first + second for first in BASE62_ALPHABET for second in BASE62_ALPHABET)
"""All numbers of two digits: a checksum is read for each guess, and digit by digit it costs most of that."""


def crc32_base62(text: str) -> str:
    """Return the CRC-32 of ASCII `text` as 6 base62 digits (62**6 > 2**32)."""
    first, rest = divmod(zlib.crc32(text.encode("ascii")), 62**4)
    second, third = divmod(rest, 62**2)
    return _PAIRS[first] + _PAIRS[second] + _PAIRS[third]


def base64url_encode(raw: bytes) -> bytes:
    """Encode as base64url without padding (RFC 7515, section 2)."""
    return binascii.b2a_base64(raw, newline=False).translate(_TO_URL).rstrip(b"=")


def base64url_decode(text: bytes) -> bytes:
    """Decode base64url; refuse padding, foreign characters and unused bits that are not zero."""
    if _BASE64URL.fullmatch(text) is None:
        raise EncodingError("not base64url")
    try:
        raw = binascii.a2b_base64(text.translate(_FROM_URL) + b"=" * (-len(text) % 4))
    except binascii.Error as error:
        raise EncodingError("not base64url") from error
    if base64url_encode(raw) != text:
        raise EncodingError("unused bits are set")
    return raw


_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")
