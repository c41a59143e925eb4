"""Texts of somebody else's making, before they are logged or stored."""

import re
from functools import lru_cache

from keyturn.core.api_key import FOREIGN_KEY_MIN_LENGTH

MAX_TEXT_KEPT = 512
"""How many characters of a path or user agent are logged and stored."""
REMEMBERED = 4096
"""Of how many texts the result is remembered: the same few are logged all day."""


class Redactor:
    """Takes out of a path or user agent what could be a credential, where none belongs.

    That is whatever begins like one of our keys, and any long word with a digit in it: foreign keys and the
    parts of tokens look like that. One pass over a bounded text: strangers choose it.
    """

    def __init__(self, key_prefix: str) -> None:
        self._words = re.compile(rf"{key_prefix}_\w+|[\w-]{{{FOREIGN_KEY_MIN_LENGTH},}}", re.ASCII)
        self._prefix = f"{key_prefix}_"
        self._clean = lru_cache(REMEMBERED)(self._cleaned)

    def __call__(self, text: str) -> str:
        """Return the text, cut and without what could be a credential."""
        return self._clean(text[:MAX_TEXT_KEPT])

    def _cleaned(self, text: str) -> str:
        return self._words.sub(self._replacement, text)

    def _replacement(self, word: re.Match[str]) -> str:
        is_suspect = word[0].startswith(self._prefix) or any(map(str.isdigit, word[0]))
        return "[REDACTED]" if is_suspect else word[0]
