"""User names that cannot be taken for another (RFC 8265, UTS #39).

A name is one or more parts, divided by single spaces or `@`: names and e-mail addresses. Each part obeys
the profile UsernameCaseMapped and is of one script; the scripts that Japanese, Korean and Chinese are written
in count as one each. Of all names with one skeleton, which are those that look the same, one is given out.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import chain

_WRITTEN_TOGETHER = (
    frozenset({"HAN", "HIRAGANA", "KATAKANA"}),
    frozenset({"HAN", "HANGUL"}),
    frozenset({"HAN", "BOPOMOFO"}),
)
"""UTS #39, section 5.1: augmented script sets."""
_OF_ANY_SCRIPT = frozenset({"COMMON", "INHERITED"})
_DOT_ABOVE = "\u0307"
_SOFT_DOTTED = frozenset(
    "ij\u0249\u0268\u029d\u02b2\u03f3\u0456\u0458\u1d62\u1d96\u1da4\u1da8\u2071\u2148\u2149\u2c7c"
    "\U0001df1a\U0001e04c\U0001e04d\U0001e068"
)
"""Unicode's property Soft_Dotted, without what decomposes: a dot above takes the place of their own one."""
_MOST_MARKS = 4
"""On one letter (UTS #39, section 5.4): more are drawn into each other."""
_PALOCHKA = "\u04cf"
"""A letter of the Caucasus. Unicode's table has it as i; most fonts draw it as l."""
_NO_CAPITALS = frozenset("01|")
"""Characters that look like a capital I or O."""


def fault_of_user_name(name: str) -> str | None:
    """Return what is wrong with a new user name, as a sentence; None if nothing is."""
    from precis_i18n import get_profile  # noqa: PLC0415 - needed by those who make users alone

    profile = get_profile("UsernameCaseMapped")
    for part in re.split("[ @]", name):
        try:
            profile.enforce(part)
        except UnicodeEncodeError:
            return "A user name is letters, digits and signs, with single spaces between: no other character."
        if not _is_of_one_script(part):
            return "The letters of a user name, or of each side of an address, are of one script."
        if _hides_marks(part):
            return "A user name has no accent or dot that is not seen on its letter."
    return None


def _is_of_one_script(part: str) -> bool:
    from confusable_homoglyphs.categories import unique_aliases  # noqa: PLC0415 - as above

    scripts = unique_aliases(part) - _OF_ANY_SCRIPT
    return len(scripts) <= 1 or any(scripts <= together for together in _WRITTEN_TOGETHER)


def _hides_marks(part: str) -> bool:
    """Return whether a mark vanishes in another, or in its letter (UTS #39, section 5.4)."""
    is_dotted, marks = False, ""
    for each in unicodedata.normalize("NFD", part):
        if not unicodedata.category(each).startswith("M"):
            is_dotted, marks = not _SOFT_DOTTED.isdisjoint({each, _look_alikes().get(each, each)}), ""
            continue
        if each in marks or len(marks) == _MOST_MARKS or (each == _DOT_ABOVE and is_dotted):
            return True
        marks += each
    return False


def skeleton_of(name: str) -> str:
    """Return a digest that all names share which look the same (UTS #39, section 4), in whatever case."""
    return _digest(_looks(name))


def skeletons_to_ask_for(name: str) -> frozenset[str]:
    """Return the skeletons that names can have which this one can be taken for: `look_alike` decides."""
    capitals = {"i": _look_alikes()["I"], "o": _look_alikes()["O"]}
    with_capitals = _digest(capitals.get(each, each) for each in _looks(name))
    in_capitals = {skeleton_of(name.upper()), skeleton_of(name.capitalize())}
    return _skeletons(name) | {with_capitals} | in_capitals


def look_alike(one: str, other: str) -> bool:
    """Return whether one name can be taken for the other."""
    return skeleton_of(one) in _skeletons(other) or skeleton_of(other) in _skeletons(one)


def _skeletons(name: str) -> frozenset[str]:
    """Return a name's skeleton, and that of its small letters.

    A capital I looks like l, and a capital O like 0, in whatever script. To somebody for whom the case of a
    name means nothing they are i and o.
    """
    small = "".join(map(_small, unicodedata.normalize("NFKD", name))).casefold()
    return frozenset({skeleton_of(name), _digest(_looks(small))})


def _small(character: str) -> str:
    looks = _look_alikes()
    look = looks.get(character, character)
    if character in _NO_CAPITALS or (character.islower() and character != _PALOCHKA):
        return look
    return {looks["I"]: "i", looks["O"]: "o"}.get(look, look)


def _looks(name: str) -> Iterable[str]:
    return (_look_alikes().get(each, each) for each in unicodedata.normalize("NFKD", name))


def _digest(looks: Iterable[str]) -> str:
    folded = unicodedata.normalize("NFD", "".join(looks).casefold())
    return hashlib.sha256(folded.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _look_alikes() -> dict[str, str]:
    """Return for each character the one text that stands for all that look like it."""
    from confusable_homoglyphs.confusables import confusables_data  # noqa: PLC0415 - as above

    alike: dict[str, set[str]] = {}
    drawn_like = {_PALOCHKA: [{"c": "l"}]}
    for text, given in confusables_data.items():
        others = drawn_like.get(text) or [one for one in given if one["c"] not in drawn_like]
        known = set(chain.from_iterable(alike.get(one["c"], {one["c"]}) for one in others))
        together = known | alike.get(text, {text})
        for each in together:
            alike[each] = together
    return {
        each: min(together, key=lambda text: (not text.isascii(), -len(text), text))
        for each, together in alike.items()
        if len(each) == 1
    }
