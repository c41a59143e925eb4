"""Which user names are given out: RFC 8265 and UTS #39 (fault B3)."""

from __future__ import annotations

import pytest

from keyturn.core.user_names import fault_of_user_name, skeleton_of

GOOD = (
    "ada@example.com", "Ada", "Zoë", "ДМИТРИЙ", "with USER_ADMIN", "дима@example.com", "田中たろう", "김철수",
    "שלום", "محمد", "ada+tag@example.com", "o'brien@example.org", "svc_backup-1.prod", "ＡＤＡ", "ΣΊΣΥΦΟΣ",
)  # fmt: skip
MIXED = ("аda@example.com", "раypal", "adа@example.com", "Εva Smith")
UNFIT = ("bobק", "a\u202eb", "a\u200bb", "a\u00adb", "a  b", "ﬁn", "Ⅷ", "☃", "ada@", "a\u2800b", "𝐚da")
ALIKE = (
    ("ada", "аda"), ("bob1", "bobl"), ("BobI", "Bobl"), ("modern", "rnodern"), ("scope", "ѕсоре"),
    ("user0", "userO"), ("ada@example.com", "аdа@ехаmрlе.соm"),
)  # fmt: skip
UNLIKE = (("ada", "adb"), ("zoe", "zoë"), ("person1", "person2"), ("bob", "bobby"))


@pytest.mark.parametrize("name", GOOD)
def test_fault_b3_names_and_addresses_are_good(name: str) -> None:
    """Names in one script, with single spaces, and e-mail addresses, of which each side is of one script."""
    assert fault_of_user_name(name) is None


@pytest.mark.parametrize("name", MIXED + UNFIT)
def test_fault_b3_what_deceives_is_none(name: str) -> None:
    """Two scripts in one word, what nobody sees, and what only looks like letters: refused with a reason."""
    fault = fault_of_user_name(name)
    assert fault is not None
    assert ("of one script" in fault) is (name in MIXED)


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_fault_b3_what_looks_the_same_has_one_skeleton(one: str, other: str) -> None:
    """Also across scripts, and in the case in which names are shown."""
    assert skeleton_of(one) == skeleton_of(other)


@pytest.mark.parametrize(("one", "other"), UNLIKE)
def test_fault_b3_what_looks_different_has_two(one: str, other: str) -> None:
    """Accents, digits and lengths are seen."""
    assert skeleton_of(one) != skeleton_of(other)
