"""The API key.

    kt_7hQ2mZ9fT1xD_Jr0cW8…32 base62 characters…Qe4b1Xz
    ^^ ^^^^^^^^^^^^ ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ ^^
    |  |            secret: 32 base62 characters, 190 bits, then
    |  |            6 base62 digits: CRC-32 of all before them
    |  public id: 12 base62 characters, for people and logs
    prefix: names the issuer; an installation may set its own

Only `[A-Za-z0-9_]`, so that a double click selects the whole. The checksum lets a scanner, and this
parser, tell a key from noise without a database; it proves nothing. The key is stored, and looked up,
as the SHA-256 of the whole string: with 190 random bits nothing slower is needed.

A *foreign* key was made elsewhere and imported: any `[A-Za-z0-9_-]` string of at least 112 bits that does not
begin with the prefix, and that nobody made up (`services.keys.imported_keys`). It is looked up by the same
digest.
"""

import hashlib
import math
import re
from dataclasses import dataclass, field
from functools import lru_cache

from keyturn.core.encoding import base62_from_random, crc32_base62
from keyturn.errors import CredentialRefused, Reason

DEFAULT_PREFIX = "kt"
PUBLIC_ID_LENGTH = 12
SECRET_LENGTH = 32
CHECKSUM_LENGTH = 6
RANDOM_BYTES = 2 * (PUBLIC_ID_LENGTH + SECRET_LENGTH)
"""How many random bytes `make_api_key` needs."""

FOREIGN_KEY_MIN_LENGTH = 19
FOREIGN_KEY_MAX_LENGTH = 128
FOREIGN_KEY_MIN_BITS = 112
"""NIST SP 800-63B: a look-up secret of 112 bits may be stored under a plain hash."""

FEW_DISTINCT_CHARACTERS = 8
"""A random text of 112 bits shows more different characters than this, or was drawn from fewer."""

LAST_CHARACTERS_SHOWN = 4

_PREFIX = re.compile(r"[a-z][a-z0-9]{1,11}")
_FOREIGN = re.compile(rb"[A-Za-z0-9_-]{%d,%d}" % (FOREIGN_KEY_MIN_LENGTH, FOREIGN_KEY_MAX_LENGTH))
_ALPHABETS = (
    (re.compile(r"[0-9]+"), 10),
    (re.compile(r"[0-9a-f-]+|[0-9A-F-]+"), 16),
    (re.compile(r"[0-9a-z]+|[0-9A-Z]+"), 36),
    (re.compile(r"[0-9A-Za-z]+"), 62),
    (re.compile(r"[0-9A-Za-z_-]+"), 64),
)


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key in the one moment its secret is known."""

    public_id: str | None
    """None for a foreign key."""
    text: str = field(repr=False)
    digest: bytes = field(repr=False)

    @property
    def last_characters(self) -> str:
        """The last characters, shown in lists so that a person can tell keys apart."""
        return self.text[-LAST_CHARACTERS_SHOWN:]


@dataclass(frozen=True, slots=True)
class ApiKeyFormat:
    """The form of the keys of one installation."""

    prefix: str = DEFAULT_PREFIX

    def __post_init__(self) -> None:
        if _PREFIX.fullmatch(self.prefix) is None:
            raise ValueError("a key prefix is 2 to 12 lower-case letters and digits, a letter first")

    @property
    def pattern(self) -> str:
        """The regular expression that every key of this installation matches, for secret scanners."""
        tail = SECRET_LENGTH + CHECKSUM_LENGTH
        return f"{self.prefix}_[0-9A-Za-z]{{{PUBLIC_ID_LENGTH}}}_[0-9A-Za-z]{{{tail}}}"

    def make_api_key(self, random: bytes) -> NewApiKey:
        """Make a key from `RANDOM_BYTES` random bytes."""
        characters = base62_from_random(random, PUBLIC_ID_LENGTH + SECRET_LENGTH)
        public_id, secret = characters[:PUBLIC_ID_LENGTH], characters[PUBLIC_ID_LENGTH:]
        unchecked = f"{self.prefix}_{public_id}_{secret}"
        text = unchecked + crc32_base62(unchecked)
        return NewApiKey(public_id=public_id, text=text, digest=digest_api_key(text.encode("ascii")))

    def check_well_formed(self, presented: bytes) -> None:
        """Raise `CredentialRefused` unless `presented` can be a key, native or foreign.

        Says nothing about whether it was ever issued. Costs no look-up: this is where noise ends.
        """
        flaw = self.find_flaw(presented)
        if flaw is not None:
            raise CredentialRefused(flaw)

    def find_flaw(self, presented: bytes) -> Reason | None:
        """Return why `presented` cannot be a key; None if by its form it can."""
        start, native = _native(self.prefix)
        if not presented.startswith(start):
            return Reason.MALFORMED if _FOREIGN.fullmatch(presented) is None else None
        if native.fullmatch(presented) is None:
            return Reason.MALFORMED
        text = presented.decode("ascii")
        if crc32_base62(text[:-CHECKSUM_LENGTH]) != text[-CHECKSUM_LENGTH:]:
            return Reason.CHECKSUM
        return None

    def import_foreign_key(self, text: str) -> NewApiKey:
        """Take over a key that was made elsewhere; raise `ValueError` saying why if it is unfit."""
        if text.startswith(f"{self.prefix}_"):
            raise ValueError(
                f"a key that begins with {self.prefix}_ cannot be imported: the prefix names our own keys"
            )
        if not text.isascii() or _FOREIGN.fullmatch(text.encode("ascii")) is None:
            raise ValueError(
                f"a key is {FOREIGN_KEY_MIN_LENGTH} to {FOREIGN_KEY_MAX_LENGTH} letters, digits, '_' and '-'"
            )
        if character_bits(text) < FOREIGN_KEY_MIN_BITS:
            raise ValueError(
                f"the key is too easy to guess: it must hold at least {FOREIGN_KEY_MIN_BITS} random bits, "
                "as 32 hexadecimal digits do"
            )
        return NewApiKey(public_id=None, text=text, digest=digest_api_key(text.encode("ascii")))


@lru_cache
def _native(prefix: str) -> tuple[bytes, re.Pattern[bytes]]:
    """Return what our own keys begin with, and what they match."""
    return f"{prefix}_".encode("ascii"), re.compile(ApiKeyFormat(prefix).pattern.encode("ascii"))


def digest_api_key(presented: bytes) -> bytes:
    """Return what a key is stored and looked up by: SHA-256 of every byte of it (never a part: K5)."""
    return hashlib.sha256(presented).digest()


def mask(prefix: str, public_id: str | None, last_characters: str) -> str:
    """Return how a key is shown after its one moment: `kt_7hQ2mZ9fT1xD_…b1Xz`, or `…b1Xz` if foreign."""
    shown = f"{prefix}_{public_id}_" if public_id is not None else ""
    return f"{shown}…{last_characters}"


def character_bits(text: str) -> float:
    """Estimate the bits in `text` if it was drawn at random from the smallest alphabet that holds it.

    A text that repeats itself is worth its period, and one of few different characters no more than if
    it had been drawn from just those. Hyphens, as in a UUID, count for nothing.
    """
    alphabet = next((size for pattern, size in _ALPHABETS if pattern.fullmatch(text)), 2)
    drawn = text.replace("-", "")
    if not drawn:
        return 0.0
    drawn = drawn[: (drawn + drawn).find(drawn, 1)]
    distinct = len(set(drawn))
    size = alphabet if distinct >= FEW_DISTINCT_CHARACTERS else distinct
    return len(drawn) * math.log2(size)
