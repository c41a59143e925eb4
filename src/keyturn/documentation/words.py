"""The words of questions, as they are stored and as they are looked up."""

import hashlib
import re

_DIGEST_BYTES = 7
"""As many as a whole number of SQLite has, with its sign."""
_WORD = re.compile(r"[^\W_]+")
_KIND_OF_KEY = re.compile(r"\bapi[ -]?key(?=s?\b)")
_STOP_WORDS = frozenset(
    _WORD.findall(
        """
    a about after all also an and any anything are as at be because been before being but by can could
    did do does doing for from get gets getting go had has have having here how i if im in into is isn
    it its just let like ll make me mine more my need no not now of off on one or our out over please
    see should show so some something such t tell than that the their them then there these they this
    those to too up us use used using via want was way we were what when where which while who whom
    whose why will with without would you your
        """
    )
)
"""Words that say nothing of a subject."""


def words_of(text: str) -> list[str]:
    """Return the words of a text that say what it is about, each once."""
    return list(dict.fromkeys(word for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS))


def all_words_of(text: str) -> list[str]:
    """Return the words of a text in their order, each once."""
    return list(dict.fromkeys(_WORD.findall(text.lower())))


def plain(question: str) -> str:
    """Return a question in the words that tell sections apart: everything here is about API keys."""
    return _KIND_OF_KEY.sub("key", question.lower())


def digest_of_question(plain_question: str) -> int:
    """Return by what a question is found that is asked word for word as a writer noted it."""
    words = " ".join(all_words_of(plain_question))
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=_DIGEST_BYTES).digest())
