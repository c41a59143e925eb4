"""The code that people type: one form, 20 consonants, and read however it is typed."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.device_codes import ALPHABET, RANDOM_BYTES, digest_user_code, make_user_code, read_user_code


@given(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_a_code_is_read_as_it_was_made(random: bytes) -> None:
    """What is shown is what is read, whatever case, spaces and hyphens it is typed with."""
    code = make_user_code(random)
    assert len(code) == 9
    letters = code.replace("-", "")
    assert set(letters) <= set(ALPHABET)
    for typed in (code, letters, letters.lower(), f" {letters[:3]} {letters[3:]}\t", "-".join(letters)):
        assert read_user_code(typed) == code


def test_every_letter_is_drawn() -> None:
    """Each place of a code takes each of the 20 letters."""
    places = [Counter[str]() for _ in range(8)]
    for number in range(20**3):
        code = make_user_code(hashlib.sha256(number.to_bytes(2)).digest()[:RANDOM_BYTES])
        for place, letter in zip(places, code.replace("-", ""), strict=True):
            place[letter] += 1
    assert all(set(place) == set(ALPHABET) for place in places)
    assert make_user_code(bytes(RANDOM_BYTES)) == "BBBB-BBBB"
    assert make_user_code(b"\xff" * RANDOM_BYTES) != make_user_code(b"\xff" * (RANDOM_BYTES - 1) + b"\xfe")


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "WDJB-MJH",
        "WDJB-MJHTT",
        "WDJB-MJHA",
        "WDJB-MJH1",
        "ＷＤＪＢ-ＭＪＨＴ",
        "W" * 10_000,
        "WDJB\x00MJHT",
    ],
)
def test_what_is_no_code_is_none(typed: str) -> None:
    """Too few or too many letters, vowels, digits and other alphabets are no code."""
    assert read_user_code(typed) is None


def test_a_code_has_a_digest_of_its_own() -> None:
    """What is stored of a code is not what is stored of another."""
    assert digest_user_code("BBBB-BBBB") != digest_user_code("BBBB-BBBC")
    assert len(digest_user_code("BBBB-BBBB")) == 32
