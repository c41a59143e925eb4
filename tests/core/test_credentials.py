"""The `Authorization` header: four forms are read, everything else is refused."""

import hashlib
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.access_token import MAX_TOKEN_BYTES
from keyturn.core.api_key import RANDOM_BYTES, ApiKeyFormat
from keyturn.core.credentials import (
    AccessTokenCredential,
    ApiKeyCredential,
    Credential,
    read_api_key,
    read_authorization,
    read_credential,
    read_presented,
)
from keyturn.errors import AmbiguousCredential, CredentialRefused, Reason

KT = ApiKeyFormat()
KEY = KT.make_api_key(random.Random(3).randbytes(RANDOM_BYTES))
TOKEN = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJrIn0.c2lnbmF0dXJl"
SEEDS = st.integers(0, 2**64 - 1)


def key_of(seed: int) -> bytes:
    return KT.make_api_key(random.Random(seed).randbytes(RANDOM_BYTES)).text.encode()


def outcome_of(values: list[bytes]) -> Credential | str | None:
    """Return what was read, "ambiguous", or the reason of the refusal."""
    try:
        return read_authorization(values, KT)
    except AmbiguousCredential:
        return "ambiguous"
    except CredentialRefused as caught:
        refusal = caught
    assert not refusal.secret_matched
    assert refusal.key_id is None
    return refusal.reason.value


def test_each_vector_has_its_outcome(authorization_vector: dict[str, Any]) -> None:
    """Each request of the vectors is read as the credential, or refused as the vector says."""
    values = (
        [value.encode("ascii") for value in authorization_vector["values"]]
        if "values" in authorization_vector
        else [bytes.fromhex(value) for value in authorization_vector["values_hex"]]
    )
    credential = authorization_vector.get("credential", "").encode("ascii")
    expected: dict[str, Credential | None] = {
        "none": None,
        "key": ApiKeyCredential(hashlib.sha256(credential).digest()),
        "token": AccessTokenCredential(credential),
        "key_with_proof": ApiKeyCredential(hashlib.sha256(credential).digest(), is_with_proof=True),
        "token_with_proof": AccessTokenCredential(credential, is_with_proof=True),
    }
    outcome = authorization_vector["outcome"]
    assert outcome_of(values) == expected.get(outcome, outcome)


def test_no_header_is_no_credential() -> None:
    """Without an Authorization line there is no credential, which is not a refusal."""
    assert read_authorization([], KT) is None
    assert read_authorization((), KT) is None


@given(SEEDS, st.sampled_from(["Bearer", "bearer", "BEARER", "bEARER"]), st.integers(1, 9))
def test_the_four_forms_read_the_same(seed: int, scheme: str, spaces: int) -> None:
    """H1: with or without the scheme, in any case, after any number of spaces, it is one credential."""
    key = key_of(seed)
    start = scheme.encode() + b" " * spaces
    assert outcome_of([key]) == outcome_of([start + key]) == ApiKeyCredential(hashlib.sha256(key).digest())
    assert outcome_of([TOKEN]) == outcome_of([start + TOKEN]) == AccessTokenCredential(TOKEN)


@given(SEEDS, st.sampled_from(["", "Bearer ", "bearer  ", "DPoP ", "dpop   "]))
def test_what_is_passed_on_is_what_is_read(seed: int, scheme: str) -> None:
    """Whoever passes a credential on passes every byte of it, no scheme, and shows nothing of it."""
    for credential in (key_of(seed), TOKEN):
        presented = read_presented([b" " + scheme.encode() + credential + b"\t"])
        assert presented is not None
        assert presented.value == credential
        assert presented.is_with_proof is scheme.lower().startswith("dpop")
        assert credential.decode() not in f"{presented!r}{presented}"
    assert read_presented([]) is None


@given(SEEDS, st.sampled_from(["DPoP", "dpop", "DPOP", "dPoP"]), st.integers(1, 9))
def test_the_scheme_says_that_a_proof_comes_with_it(seed: int, scheme: str, spaces: int) -> None:
    """After `DPoP` in any case it is the same credential, marked as with a proof (RFC 9449, section 7.1)."""
    key = key_of(seed)
    start = scheme.encode() + b" " * spaces
    assert outcome_of([start + key]) == ApiKeyCredential(hashlib.sha256(key).digest(), is_with_proof=True)
    assert outcome_of([start + TOKEN]) == AccessTokenCredential(TOKEN, is_with_proof=True)


@given(st.text(" \t", max_size=5), st.text(" \t", max_size=5))
def test_optional_white_space_around_the_value_is_not_part_of_it(before: str, after: str) -> None:
    """H4: spaces and TABs before and after the value, which some servers leave there, mean nothing."""
    for value in (KEY.text.encode(), b"Bearer " + KEY.text.encode()):
        assert outcome_of([before.encode() + value + after.encode()]) == ApiKeyCredential(KEY.digest)


@pytest.mark.parametrize("byte", sorted(set(range(256)) - set(b" \t")))
def test_no_other_byte_is_trimmed(byte: int) -> None:
    """H4: any other byte around a credential makes it malformed, another key, or a wrong checksum."""
    for value in (KEY.text.encode(), TOKEN):
        for changed in (value + bytes([byte]), bytes([byte]) + value):
            outcome = outcome_of([changed])
            assert outcome not in (ApiKeyCredential(KEY.digest), AccessTokenCredential(TOKEN))
            if not re.fullmatch(rb"[A-Za-z0-9_.-]", bytes([byte])):
                assert outcome == "malformed"


@pytest.mark.parametrize("byte", range(0x80, 0x100))
def test_a_byte_beyond_ascii_is_malformed(byte: int) -> None:
    """K6: no byte from 0x80 to 0xFF, anywhere in the value, is anything but malformed."""
    for value in (KEY.text.encode(), TOKEN, b"Bearer " + KEY.text.encode(), b"Bearer " + TOKEN):
        for place in range(0, len(value), 3):
            assert outcome_of([value[:place] + bytes([byte]) + value[place + 1 :]]) == "malformed"


@given(st.lists(st.binary(max_size=80), min_size=2, max_size=4))
def test_more_than_one_line_is_ambiguous(values: list[bytes]) -> None:
    """H2: two lines are refused whatever they hold, equal or not, before either is read."""
    with pytest.raises(AmbiguousCredential):
        read_authorization(values, KT)


@given(st.binary(max_size=300) | st.binary(max_size=80).map(lambda rest: b"Bearer " + rest))
def test_any_bytes_are_a_credential_or_refused(value: bytes) -> None:
    """Arbitrary bytes raise nothing but CredentialRefused; what is read is part of what was sent."""
    outcome = outcome_of([value])
    if isinstance(outcome, AccessTokenCredential):
        assert outcome.token in value
        assert outcome.token.count(b".") == 2
    elif isinstance(outcome, str):
        assert outcome in {"malformed", "checksum"}
    else:
        assert isinstance(outcome, ApiKeyCredential)


@given(st.from_regex(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", fullmatch=True))
def test_every_other_scheme_is_refused(scheme: bytes) -> None:
    """H1: no scheme but Bearer brings a credential through, whatever follows it."""
    if scheme.lower() == b"bearer":
        return
    assert outcome_of([scheme + b" " + KEY.text.encode()]) == "malformed"
    assert outcome_of([scheme + b" " + TOKEN]) == "malformed"


@given(SEEDS)
def test_a_key_is_read_the_same_by_every_reader(seed: int) -> None:
    """The header, the reader of either kind and the reader of keys agree on a key."""
    key = key_of(seed)
    assert read_authorization([key], KT) == read_credential(key, KT) == read_api_key(key, KT)


def test_the_reader_of_keys_takes_no_token() -> None:
    """The exchange takes a key alone: a token there is malformed, so no token buys another."""
    with pytest.raises(CredentialRefused) as refusal:
        read_api_key(TOKEN, KT)
    assert refusal.value.reason is Reason.MALFORMED


@given(SEEDS, st.sampled_from([b" ", b"\t", b"\n", b"Bearer "]))
def test_the_reader_of_keys_trims_nothing(seed: int, extra: bytes) -> None:
    """A key that comes in a body has no optional white space and no scheme."""
    key = key_of(seed)
    for presented in (extra + key, key + extra):
        with pytest.raises(CredentialRefused):
            read_api_key(presented, KT)


@pytest.mark.parametrize("length", [MAX_TOKEN_BYTES - 1, MAX_TOKEN_BYTES, MAX_TOKEN_BYTES + 1, 2**20])
def test_the_longest_credential_has_a_limit(length: int) -> None:
    """H5: a token of the greatest length is read, one byte more is malformed."""
    token = b"a.b." + b"c" * (length - 4)
    expected = AccessTokenCredential(token) if length <= MAX_TOKEN_BYTES else "malformed"
    assert outcome_of([token]) == expected
    assert outcome_of([b"Bearer " + token]) == expected


@given(SEEDS)
def test_no_credential_shows_its_secret(seed: int) -> None:
    """Neither repr nor str of what was read holds the key, its digest or the token."""
    key = key_of(seed)
    for credential in (read_credential(key, KT), read_credential(TOKEN, KT)):
        for shown in (repr(credential), str(credential), f"{[credential]}"):
            assert key.decode() not in shown
            assert hashlib.sha256(key).hexdigest() not in shown
            assert repr(hashlib.sha256(key).digest()) not in shown
            assert not any(part.decode() in shown for part in TOKEN.split(b"."))


def test_no_refusal_shows_the_credential(authorization_vector: dict[str, Any]) -> None:
    """The error of a refused header holds nothing of its value."""
    values = [value.encode("ascii") for value in authorization_vector.get("values", [])]
    try:
        read_authorization(values, KT)
    except (AmbiguousCredential, CredentialRefused) as error:
        shown = f"{error!r} {error} {error.args} {error.__cause__!r}"
        words = [word for value in values for word in re.findall(rb"[A-Za-z0-9_-]{12,}", value)]
        assert not any(word.decode() in shown for word in words)


@pytest.mark.parametrize("form", ["<key>", "<token>", "Bearer <key>", "Bearer <token>"])
def test_the_page_shows_the_four_forms(documented: Callable[[str], str], form: str) -> None:
    """Each form that the page prints is read, and the page prints no others."""
    lines = documented("The four forms").splitlines()
    assert len(lines) == 4
    assert f"Authorization: {form}" in lines
    value = form.replace("<key>", KEY.text).replace("<token>", TOKEN.decode())
    expected = ApiKeyCredential(KEY.digest) if "<key>" in form else AccessTokenCredential(TOKEN)
    assert outcome_of([value.encode()]) == expected


@pytest.mark.parametrize("form", ["DPoP <key>", "DPoP <token>"])
def test_the_page_shows_the_forms_with_a_proof(documented: Callable[[str], str], form: str) -> None:
    """Both forms that come with a proof of possession are on the page, and are read as such."""
    lines = documented("The forms with a proof of possession").splitlines()
    assert len(lines) == 2
    assert f"Authorization: {form}" in lines
    value = form.replace("<key>", KEY.text).replace("<token>", TOKEN.decode())
    found = outcome_of([value.encode()])
    assert isinstance(found, ApiKeyCredential | AccessTokenCredential)
    assert found.is_with_proof


def test_the_page_prints_the_form_of_a_token(documented: Callable[[str], str]) -> None:
    """The page's pattern of a token takes exactly what the reader takes for one."""
    pattern = re.compile(documented("Pattern of a token").encode())
    for text in (
        TOKEN,
        b"a.b.c",
        b"a.b",
        b"a..c",
        b"a.b.c.d",
        b"a.b.c=",
        b"a.b.c\n",
        b"a.b.+",
        b"",
        b"..",
        KEY.text.encode(),
    ):
        outcome = outcome_of([text])
        assert isinstance(outcome, AccessTokenCredential) == (pattern.fullmatch(text) is not None)
