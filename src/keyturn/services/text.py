"""What people may write in one line of text."""

import unicodedata

from keyturn.errors import InvalidInput

_REFUSED_CATEGORIES = frozenset({"Cc", "Cs"})
"""Control characters, which could forge a line somewhere, and lone surrogates, which are no text."""


def checked_text(
    field: str, text: str | None, *, max_characters: int, allows_lines: bool = False
) -> str | None:
    """Return `text` without white space around it, None if nothing is left; raise `InvalidInput`."""
    if text is None or not text.strip():
        return None
    label = field.replace("_", " ")
    if len(text) > max_characters:
        raise InvalidInput(field, f"The {label} must be at most {max_characters} characters long.")
    for character in text:
        if unicodedata.category(character) in _REFUSED_CATEGORIES and not (
            allows_lines and character in "\r\n\t"
        ):
            raise InvalidInput(field, f"The {label} must not hold control characters.")
    return text.strip()
