"""Strict encodings: every value has one spelling, and only that one is read."""

import base64
import re
import zlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.encoding import (
    BASE62_ALPHABET,
    EncodingError,
    base62_encode,
    base62_from_random,
    base64url_decode,
    base64url_encode,
    crc32_base62,
)

BASE64URL_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def test_the_base62_alphabet_is_digits_capitals_small_letters() -> None:
    """The alphabet is the 62 ASCII letters and digits in ASCII order, each once."""
    assert len(BASE62_ALPHABET) == 62
    assert list(BASE62_ALPHABET) == sorted(set(BASE62_ALPHABET))
    assert re.fullmatch("[0-9A-Za-z]+", BASE62_ALPHABET)


@given(st.integers(0, 62**6 - 1))
def test_base62_has_the_asked_width_and_its_value(number: int) -> None:
    """A number is written in exactly the asked width and its digits give the number again."""
    text = base62_encode(number, 6)
    value = 0
    for character in text:
        value = 62 * value + BASE62_ALPHABET.index(character)
    assert len(text) == 6
    assert value == number


@pytest.mark.parametrize(
    ("number", "width", "text"),
    [
        (0, 1, "0"),
        (61, 1, "z"),
        (62, 2, "10"),
        (0, 6, "000000"),
        (62**6 - 1, 6, "zzzzzz"),
        (2**32 - 1, 6, "4gfFC3"),
    ],
)
def test_base62_at_its_edges(number: int, width: int, text: str) -> None:
    """The smallest and the largest number of a width are written as their digits say."""
    assert base62_encode(number, width) == text


@pytest.mark.parametrize(("number", "width"), [(-1, 6), (62**6, 6), (62, 1), (1, 0)])
def test_base62_refuses_what_does_not_fit(number: int, width: int) -> None:
    """A number that the width cannot hold is an error, never a shortened text."""
    with pytest.raises(EncodingError):
        base62_encode(number, width)


def test_random_bytes_favour_no_character() -> None:
    """Over all 256 byte values each of the 62 characters comes from exactly four bytes."""
    counted = Counter(base62_from_random(bytes(range(256)), 248))
    assert counted == dict.fromkeys(BASE62_ALPHABET, 4)


@pytest.mark.parametrize("byte", range(248, 256))
def test_a_byte_that_would_favour_a_character_is_skipped(byte: int) -> None:
    """The eight byte values that 62 does not divide give no character."""
    assert base62_from_random(bytes([byte, 1, byte, 2]), 2) == "12"
    with pytest.raises(EncodingError):
        base62_from_random(bytes([byte]) * 100, 1)


@given(st.binary(max_size=64), st.integers(0, 64))
def test_random_characters_are_never_fewer_than_asked(random: bytes, width: int) -> None:
    """Either the whole width is drawn, or too few usable bytes are an error."""
    usable = sum(byte < 248 for byte in random)
    if usable < width:
        with pytest.raises(EncodingError):
            base62_from_random(random, width)
    else:
        assert len(base62_from_random(random, width)) == width


@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_the_checksum_is_crc32_in_six_digits(text: str) -> None:
    """The checksum is the CRC-32 of zlib and zip, always in six base62 digits."""
    checksum = crc32_base62(text)
    assert checksum == base62_encode(zlib.crc32(text.encode("ascii")), 6)
    assert re.fullmatch("[0-9A-Za-z]{6}", checksum)


def test_the_checksum_of_the_standard_test_string() -> None:
    """The check value that the CRC catalogues give, CBF43926, comes out for "123456789"."""
    assert crc32_base62("123456789") == base62_encode(0xCBF43926, 6)


@given(st.binary(max_size=200))
def test_base64url_round_trip(raw: bytes) -> None:
    """Bytes come back as they went in, and the text is what Python's own encoder writes unpadded."""
    text = base64url_encode(raw)
    assert text == base64.urlsafe_b64encode(raw).rstrip(b"=")
    assert base64url_decode(text) == raw


@given(st.binary(max_size=12) | st.text(st.sampled_from("AQgw-_/+= \n"), max_size=12).map(str.encode))
def test_base64url_has_one_spelling(text: bytes) -> None:
    """Any bytes are refused with EncodingError, or are the very bytes that encoding would write."""
    try:
        raw = base64url_decode(text)
    except EncodingError:
        return
    assert base64url_encode(raw) == text


@pytest.mark.parametrize("length", [2, 3])
def test_base64url_reads_only_zero_unused_bits(length: int) -> None:
    """Of all last characters just those are read whose unused bits are zero."""
    start = b"A" * (length - 1)
    read = []
    for character in BASE64URL_ALPHABET:
        try:
            base64url_decode(start + bytes([character]))
        except EncodingError:
            continue
        read.append(character)
    unused_bits = {2: 4, 3: 2}[length]
    assert bytes(read) == BASE64URL_ALPHABET[:: 2**unused_bits]


@pytest.mark.parametrize("byte", sorted(set(range(256)) - set(BASE64URL_ALPHABET)))
def test_base64url_refuses_every_other_byte(byte: int) -> None:
    """A byte outside the alphabet is refused wherever it stands, in any text length."""
    for place in range(5):
        for good in (b"AAA", b"AAAA", b"AAAAA", b"AAAAAAA"):
            with pytest.raises(EncodingError):
                base64url_decode(good[:place] + bytes([byte]) + good[place:])


@pytest.mark.parametrize(
    "text", [b"A", b"AAAAA", b"QQ=", b"QQ==", b"QUI=", b"=", b"QQ\n", b" QQ", b"Q+Q", b"Q/Q"]
)
def test_base64url_refuses_other_spellings(text: bytes) -> None:
    """Padding, white space, the standard alphabet and an impossible length are refused."""
    with pytest.raises(EncodingError):
        base64url_decode(text)


@given(st.binary(min_size=1, max_size=100))
def test_an_encoding_error_shows_nothing_of_the_text(text: bytes) -> None:
    """The message of a refusal is fixed, so that no secret can get into a log by way of it."""
    with pytest.raises(EncodingError, match=r"^(not base64url|unused bits are set)$"):
        base64url_decode(text + b"=")
