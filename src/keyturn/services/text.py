"""Texts that people give: what may stand in them, how user names are folded, and names that are taken."""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from keyturn.core.shown import find_deceptive, shown
from keyturn.errors import Conflict, InvalidInput

_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters and line separators, which could forge a line, and lone surrogates, no text at all."""
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def is_storable(*texts: str | None) -> bool:
    """Return whether every database can hold the texts: no NUL and no lone surrogate. None is no text."""
    return not any(
        character == "\x00" or unicodedata.category(character) == "Cs"
        for text in texts
        if text is not None
        for character in text
    )


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
    unseen = find_deceptive(text)
    if unseen is not None:
        raise InvalidInput(
            field, f"The {label} holds a character that nobody sees, {shown(unseen)}: leave it out."
        )
    return text.strip()


def checked_email(field: str, text: str | None, *, max_characters: int) -> str | None:
    """Return `text` as `checked_text` does; raise `InvalidInput` too for what is no email address.

    Only its shape is looked at: that an address exists, a message alone can tell.
    """
    checked = checked_text(field, text, max_characters=max_characters)
    if checked is not None and _EMAIL.fullmatch(checked) is None:
        raise InvalidInput(field, "Enter an email address, such as ada@example.com.")
    return checked


def canonical_userid(userid: str) -> str:
    """Fold a user name, so that case, width and white space around it name the same account (L4)."""
    text = userid.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    return unicodedata.normalize("NFKC", text).strip().casefold()


@contextmanager
def unique(field: str) -> Iterator[None]:
    """Say of a `Conflict` that the name in `field` is taken (errors.md, "422 Unprocessable Entity")."""
    try:
        yield
    except Conflict as error:
        raise InvalidInput(field, str(error), code="unique") from None
