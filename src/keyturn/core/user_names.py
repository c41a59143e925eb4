"""User names that cannot be taken for another (RFC 8265, UTS #39).

A name is one or more parts, divided by single spaces or `@`: names and e-mail addresses. Each part obeys
the profile UsernameCaseMapped and is of one script; the scripts that Japanese, Korean and Chinese are written
in count as one each. Of all names with one skeleton, which are those that look the same, one is given out.
"""

import hashlib
import re
import unicodedata
from functools import cache
from itertools import chain

_WRITTEN_TOGETHER = (
    frozenset({"HAN", "HIRAGANA", "KATAKANA"}),
    frozenset({"HAN", "HANGUL"}),
    frozenset({"HAN", "BOPOMOFO"}),
)
"""UTS #39, section 5.1: augmented script sets."""
_OF_ANY_SCRIPT = frozenset({"COMMON", "INHERITED"})


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
    return None


def _is_of_one_script(part: str) -> bool:
    from confusable_homoglyphs.categories import unique_aliases  # noqa: PLC0415 - as above

    scripts = unique_aliases(part) - _OF_ANY_SCRIPT
    return len(scripts) <= 1 or any(scripts <= together for together in _WRITTEN_TOGETHER)


def skeleton_of(name: str) -> str:
    """Return a digest that all names share which look the same (UTS #39, section 4), in whatever case."""
    looks = "".join(_look_alikes().get(each, each) for each in unicodedata.normalize("NFD", name))
    folded = unicodedata.normalize("NFD", looks.casefold())
    return hashlib.sha256(folded.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _look_alikes() -> dict[str, str]:
    """Return for each character the one text that stands for all that look like it."""
    from confusable_homoglyphs.confusables import confusables_data  # noqa: PLC0415 - as above

    alike: dict[str, set[str]] = {}
    for text, others in confusables_data.items():
        known = set(chain.from_iterable(alike.get(one["c"], {one["c"]}) for one in others))
        together = known | alike.get(text, {text})
        for each in together:
            alike[each] = together
    return {
        each: min(together, key=lambda text: (not text.isascii(), -len(text), text))
        for each, together in alike.items()
        if len(each) == 1
    }
