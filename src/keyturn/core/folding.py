"""Texts as people search for them: without accents, and in small letters.

Databases fold with the same table (`FOLDS`), so that what is typed and what is stored always meet.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from itertools import chain

_LETTERS = (range(0xC0, 0x250), range(0x370, 0x400), range(0x1E00, 0x2000))
"""Latin and Greek: elsewhere a mark makes another letter."""
_MARKS = range(0x300, 0x370)
_WITHOUT_PARTS = {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "\u0131": "i", "\u03c2": "\u03c3"}
"""Letters that Unicode does not take apart."""


def _folds() -> Iterator[tuple[str, str]]:
    for letter in map(chr, chain(*_LETTERS)):
        plain = unicodedata.normalize("NFD", letter.lower())[0]
        plain = _WITHOUT_PARTS.get(plain, plain)
        if plain != letter:
            yield letter, plain
    yield from ((chr(mark), "") for mark in _MARKS)


FOLDS: Mapping[str, str] = dict(_folds())
"""Each letter that is another one without its accent; marks that stand alone become nothing."""
_TABLE = str.maketrans(dict(FOLDS))


def folded(text: str) -> str:
    """Return a text in small letters without accents: Garcia for García."""
    return text.lower().translate(_TABLE)


def searched_text(userid: str, name: str | None, email: str | None) -> str:
    """Return by what a person is found and ordered: their name first, or their user name if they have none.

    It is stored, since to fold the names of ten thousand people takes a database a second. A change of how
    texts are folded needs a migration that writes it anew.
    """
    return "\n".join(map(folded, (name or userid, userid, email or "")))
