"""What nobody sees is refused where it comes in, and shown as its code (fault B3)."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.shown import find_deceptive, shown, shown_json

VISIBLE_FORMATS = {*range(0x600, 0x606), 0x6DD, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
"""Signs of Arabic and Kaithi that stand before a number, and are seen."""


def test_fault_b3_every_unseen_character_is_found() -> None:
    """All controls and formatting characters of this Unicode, but for ends of lines and visible signs."""
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        is_unseen = unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp"}
        if is_unseen and character not in "\t\n\r" and number not in VISIBLE_FORMATS:
            assert find_deceptive(f"a{character}b") == character, hex(number)
            assert shown(f"a{character}b") == f"a⟨U+{number:04X}⟩b"


@pytest.mark.parametrize("text", ["می‌خواهم", "क्‍ष", "👩‍🚀", "☎️ 12", "Zoë", "田中", "two\nlines", "ΣΊΣΥΦΟΣ"])
def test_fault_b3_writing_is_left_alone(text: str) -> None:
    """Joiners where a script or an emoji needs them, and whatever else is seen."""
    assert find_deceptive(text) is None
    assert shown(text) == text


@given(st.text())
def test_fault_b3_json_says_the_same_and_hides_nothing(text: str) -> None:
    """Escaping loses nothing of a text, and nothing unseen is left in the bytes."""
    text = text.encode("utf-8", "replace").decode()
    encoded = shown_json(json.dumps({"text": text}, ensure_ascii=False).encode())
    assert json.loads(encoded) == {"text": text}
    assert find_deceptive(encoded.decode()) is None or find_deceptive(shown(text)) is None
    assert find_deceptive(shown(text)) is None
