"""Texts that may hold a credential, and so must stand in no address and on no page a second time."""

import re

from keyturn.core.api_key import (
    FOREIGN_KEY_MIN_BITS,
    FOREIGN_KEY_MIN_LENGTH,
    PUBLIC_ID_LENGTH,
    character_bits,
)

_WORD = re.compile(rf"[A-Za-z0-9_-]{{{FOREIGN_KEY_MIN_LENGTH},}}")
_TOKEN = re.compile(r"\beyJ[\w-]+\.", re.ASCII)
MAX_MIXED = 5
"""Letters and figures together in one part of a name, such as "east1", are no longer than this."""
MAX_LETTERS = 22
"""Capitals and small letters together in one part of a name are no more than this."""


def looks_secret(text: str, key_prefix: str) -> bool:
    """Return whether a text may hold a key or a token, or a part of a key that is shown to nobody."""
    start = re.escape(key_prefix)
    masked = rf"(?<![0-9A-Za-z]){start}_[0-9A-Za-z]{{0,{PUBLIC_ID_LENGTH}}}(?:_(?:…\w{{0,4}})?)?(?!\w)"
    rest = re.sub(masked, "", text)
    if f"{key_prefix}_" in rest or _TOKEN.search(rest):
        return True
    return any(_is_random(word) for word in _WORD.findall(rest))


def _is_random(word: str) -> bool:
    """Return whether nobody would call something so: a foreign key can be any word of enough characters."""
    if character_bits(word) < FOREIGN_KEY_MIN_BITS:
        return False
    return any(_is_mixed(part) for part in re.split(r"[_-]+", word))


def _is_mixed(part: str) -> bool:
    has_figure, has_letter = any(map(str.isdigit, part)), any(map(str.isalpha, part))
    if has_figure and has_letter:
        return len(part) > MAX_MIXED
    return len(part) > MAX_LETTERS and not (part.islower() or part.isupper() or part.isdigit())
