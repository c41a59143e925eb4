"""Which user names are given out: RFC 8265 and UTS #39 (fault B3)."""

from __future__ import annotations

import pytest

from keyturn.core.user_names import fault_of_user_name, look_alike, skeleton_of, skeletons_to_ask_for

GOOD = (
    "ada@example.com", "Ada", "Zoë", "ДМИТРИЙ", "with USER_ADMIN", "дима@example.com", "田中たろう", "김철수",
    "שלום", "محمد", "ada+tag@example.com", "o'brien@example.org", "svc_backup-1.prod", "ＡＤＡ", "ΣΊΣΥΦΟΣ",
    "İbrahim", "Nguyễn", "їжак", "ḥaṭṭī", "ḯ", "Гӏалгӏай",
)  # fmt: skip
HIDING = (
    "ali\u0307ce", "j\u0307ill", "\u0131\u0307da", "\u0456\u0307ван", "\u0268\u0307", "\u03b9\u0307ρις",
    "i\u0323\u0307da", "e\u0301\u0301va", "é\u0301va", "a\u0301\u0302\u0303\u0304\u0305",
)  # fmt: skip
"""With a dot or accent that vanishes in its letter, or in another."""
MIXED = ("аda@example.com", "раypal", "adа@example.com", "Εva Smith")
UNFIT = ("bobק", "a\u202eb", "a\u200bb", "a\u00adb", "a  b", "ﬁn", "Ⅷ", "☃", "ada@", "a\u2800b", "𝐚da")
ALIKE = (
    ("ada", "аda"), ("bob1", "bobl"), ("BobI", "Bobl"), ("modern", "rnodern"), ("scope", "ѕсоре"),
    ("user0", "userO"), ("ada@example.com", "аdа@ехаmрlе.соm"),
)  # fmt: skip
LOOKING_ALIKE = (
    *ALIKE, ("alice", "аӏісе"), ("lisa", "ӏіѕа"), ("iris", "ӏгіѕ"), ("mike", "МІКЕ"), ("mike", "ΜΙΚΕ"),
    ("bob", "ВОВ"),     ("mia", "Міа"), ("bob", "ЬОЬ"), ("lisa", "ꓡꓲꓢꓮ"), ("alice", "ꓮꓡꓲꓚꓰ"), ("sam", "ᏚᎪᎷ"),
    ("ono", "օոօ"), ("bobl", "ｂｏｂ１"),
)  # fmt: skip
NOT_ALIKE = (
    ("cal", "cai"),
    ("mali", "mall"),
    ("bob", "b0b"),
    ("zoe", "zoë"),
    ("person1", "person2"),
    ("дима", "dima"),
)
UNLIKE = (("ada", "adb"), ("zoe", "zoë"), ("person1", "person2"), ("bob", "bobby"))


@pytest.mark.parametrize("name", GOOD)
def test_fault_b3_names_and_addresses_are_good(name: str) -> None:
    """Names in one script, with single spaces, and e-mail addresses, of which each side is of one script."""
    assert fault_of_user_name(name) is None


@pytest.mark.parametrize("name", MIXED + UNFIT + HIDING)
def test_fault_b3_what_deceives_is_none(name: str) -> None:
    """Two scripts in one word, what nobody sees, and what only looks like letters: refused with a reason."""
    fault = fault_of_user_name(name)
    assert fault is not None
    assert ("of one script" in fault) is (name in MIXED)
    assert ("not seen" in fault) is (name in HIDING)


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_fault_b3_what_looks_the_same_has_one_skeleton(one: str, other: str) -> None:
    """Also across scripts, and in the case in which names are shown."""
    assert skeleton_of(one) == skeleton_of(other)


@pytest.mark.parametrize(("one", "other"), UNLIKE)
def test_fault_b3_what_looks_different_has_two(one: str, other: str) -> None:
    """Accents, digits and lengths are seen."""
    assert skeleton_of(one) != skeleton_of(other)


@pytest.mark.parametrize(("one", "other"), LOOKING_ALIKE)
def test_fault_b3_names_are_taken_for_each_other_in_whatever_case(one: str, other: str) -> None:
    """Whichever was there first, the other is found by its skeletons, and told to look the same."""
    for given, new in ((one, other), (other, one)):
        assert skeleton_of(given) in skeletons_to_ask_for(new)
        assert look_alike(given, new)


@pytest.mark.parametrize(("one", "other"), NOT_ALIKE)
def test_fault_b3_what_is_asked_for_in_vain_is_no_look_alike(one: str, other: str) -> None:
    """Small letters differ, although their capitals would not: both names are given out."""
    assert not look_alike(one, other)
