"""The API key: its form, its checksum, its randomness, and keys that were made elsewhere."""

import hashlib
import random
import re
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keyturn.core.api_key import (
    CHECKSUM_LENGTH,
    FOREIGN_KEY_MAX_LENGTH,
    FOREIGN_KEY_MIN_BITS,
    FOREIGN_KEY_MIN_LENGTH,
    LAST_CHARACTERS_SHOWN,
    PUBLIC_ID_LENGTH,
    RANDOM_BYTES,
    SECRET_LENGTH,
    ApiKeyFormat,
    NewApiKey,
    character_bits,
    digest_api_key,
    mask,
)
from keyturn.core.encoding import BASE62_ALPHABET, EncodingError
from keyturn.errors import CredentialRefused

KT = ApiKeyFormat()
KEYS_DRAWN = 200_000
SEEDS = st.integers(0, 2**64 - 1)
PREFIXES = st.from_regex(r"[a-z][a-z0-9]{1,11}", fullmatch=True)
ASCII = [chr(code) for code in range(128)]


def key_of(seed: int, key_format: ApiKeyFormat = KT) -> NewApiKey:
    return key_format.make_api_key(random.Random(seed).randbytes(RANDOM_BYTES))


def outcome_of(presented: bytes, key_format: ApiKeyFormat = KT) -> str:
    """Return native, foreign, or the reason of the refusal."""
    try:
        key_format.check_well_formed(presented)
    except CredentialRefused as caught:
        refusal = caught
    else:
        return "native" if presented.startswith(key_format.prefix.encode() + b"_") else "foreign"
    assert not refusal.secret_matched
    return refusal.reason.value


def test_each_vector_has_its_outcome(api_key_vector: dict[str, Any]) -> None:
    """Each presented key of the vectors is taken, or refused, for the reason that the vector names."""
    presented = (
        api_key_vector["key"].encode("ascii")
        if "key" in api_key_vector
        else bytes.fromhex(api_key_vector["key_hex"])
    )
    key_format = ApiKeyFormat(api_key_vector.get("prefix", "kt"))
    assert outcome_of(presented, key_format) == api_key_vector["outcome"]


def test_each_foreign_key_vector_has_its_outcome(foreign_key_vector: dict[str, Any]) -> None:
    """A key offered for import is taken whole, or refused with a sentence that does not repeat it."""
    text = foreign_key_vector["text"]
    if foreign_key_vector["outcome"] in {"imported", "made up"}:
        made = KT.import_foreign_key(text)
        assert (made.public_id, made.text) == (None, text)
        assert made.digest == hashlib.sha256(text.encode()).digest()
        assert outcome_of(text.encode()) == "foreign"
    else:
        with pytest.raises(ValueError, match="key") as refusal:
            KT.import_foreign_key(text)
        assert not text or text not in str(refusal.value)


@given(SEEDS, PREFIXES)
def test_every_made_key_is_well_formed(seed: int, prefix: str) -> None:
    """Every key that is made passes its own check and matches the published pattern as a whole."""
    key_format = ApiKeyFormat(prefix)
    made = key_of(seed, key_format)
    assert outcome_of(made.text.encode(), key_format) == "native"
    assert re.fullmatch(key_format.pattern, made.text)
    assert len(made.text) <= 255


@given(SEEDS)
def test_a_key_has_the_documented_parts(seed: int) -> None:
    """A key is prefix, public id, secret and the CRC-32 of all before it, and nothing else."""
    made = key_of(seed)
    prefix, public_id, tail = made.text.split("_")
    assert (prefix, public_id, len(public_id)) == ("kt", made.public_id, PUBLIC_ID_LENGTH)
    assert len(tail) == SECRET_LENGTH + CHECKSUM_LENGTH
    value = 0
    for character in made.text[-CHECKSUM_LENGTH:]:
        value = 62 * value + BASE62_ALPHABET.index(character)
    assert value == zlib.crc32(made.text[:-CHECKSUM_LENGTH].encode())


def test_the_secret_holds_at_least_160_bits() -> None:
    """K1: the secret alone is drawn from more than 2**160 equally likely texts."""
    assert 62**SECRET_LENGTH >= 2**160


def test_made_keys_differ_and_favour_no_character() -> None:
    """K1: over 200,000 keys none comes twice, and each place and the whole show all characters alike."""
    source = random.Random(20_270_115)
    made = [KT.make_api_key(source.randbytes(RANDOM_BYTES)) for _ in range(KEYS_DRAWN)]
    assert len({key.text for key in made}) == KEYS_DRAWN
    assert len({key.public_id for key in made}) == KEYS_DRAWN
    assert len({key.digest for key in made}) == KEYS_DRAWN

    start = len(KT.prefix) + 1
    drawn = [key.text[start:-CHECKSUM_LENGTH].replace("_", "") for key in made]
    whole: Counter[str] = Counter()
    for place in zip(*drawn, strict=True):
        counted = Counter(place)
        whole += counted
        # 61 degrees of freedom: above 116.6 with a probability of 0.001 over all 44 places together.
        assert chi_square(counted) < 116.6
    assert chi_square(whole) < 100.9  # a probability of 0.001


def chi_square(counted: Counter[str]) -> float:
    expected = counted.total() / len(BASE62_ALPHABET)
    return sum((counted[character] - expected) ** 2 / expected for character in BASE62_ALPHABET)


def test_the_chi_square_test_can_fail() -> None:
    """A source that takes bytes modulo 62, without skipping any, is caught by the same bound."""
    biased = Counter(BASE62_ALPHABET[byte % 62] for byte in random.Random(1).randbytes(KEYS_DRAWN))
    assert chi_square(biased) > 116.6


@given(st.binary(max_size=RANDOM_BYTES))
def test_too_little_randomness_makes_no_key(given_bytes: bytes) -> None:
    """With fewer usable bytes than characters there is no key, rather than a weaker one."""
    if sum(byte < 248 for byte in given_bytes) < PUBLIC_ID_LENGTH + SECRET_LENGTH:
        with pytest.raises(EncodingError):
            KT.make_api_key(given_bytes)
    else:
        assert outcome_of(KT.make_api_key(given_bytes).text.encode()) == "native"


@given(SEEDS, st.integers(0, 53), st.sampled_from(ASCII))
def test_a_changed_character_is_refused_or_another_key(seed: int, place: int, character: str) -> None:
    """K3: one changed character is refused; only a changed prefix can leave a key, and then a foreign one."""
    made = key_of(seed)
    changed = made.text[:place] + character + made.text[place + 1 :]
    assume(changed != made.text)
    outcome = outcome_of(changed.encode())
    if place < len("kt_"):
        assert outcome in {"foreign", "malformed"}
        assert digest_api_key(changed.encode()) != made.digest
    elif character.isalnum() and made.text[place] != "_":
        assert outcome == "checksum"
    else:
        assert outcome == "malformed"


@given(SEEDS, st.integers(0, 53), st.integers(0x80, 0xFF))
def test_a_byte_beyond_ascii_is_a_refusal_like_any_other(seed: int, place: int, byte: int) -> None:
    """K6: any byte from 0x80 to 0xFF at any place is malformed, and no other error."""
    text = key_of(seed).text.encode()
    assert outcome_of(text[:place] + bytes([byte]) + text[place + 1 :]) == "malformed"
    assert outcome_of(text[:place] + bytes([byte]) + text[place:]) == "malformed"


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda rest: b"kt_" + rest))
def test_any_bytes_are_well_formed_or_refused(presented: bytes) -> None:
    """Arbitrary bytes raise nothing but CredentialRefused, and what passes is plain ASCII of the form."""
    outcome = outcome_of(presented)
    assert outcome in {"native", "foreign", "malformed", "checksum"}
    if outcome == "native":
        assert re.fullmatch(KT.pattern, presented.decode("ascii"))
    if outcome == "foreign":
        assert re.fullmatch(rb"[A-Za-z0-9_-]{19,128}", presented)


@given(st.from_regex(KT.pattern, fullmatch=True))
def test_text_of_the_form_alone_fails_the_checksum(text: str) -> None:
    """K3: what matches the pattern is taken only if its checksum is right."""
    value = 0
    for character in text[-CHECKSUM_LENGTH:]:
        value = 62 * value + BASE62_ALPHABET.index(character)
    right = value == zlib.crc32(text[:-CHECKSUM_LENGTH].encode())
    assert outcome_of(text.encode()) == ("native" if right else "checksum")


@pytest.mark.parametrize(
    "other",
    [
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJrIn0.c2lnbmF0dXJl",
        "f47ac10b-58cc-4372-a567-0e02b2c3d479",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "AKIAIOSFODNN7EXAMPLE",
    ],
)
def test_the_published_pattern_matches_nothing_else(other: str) -> None:
    """K2: no JWT, UUID, hash, base64 text or other issuer's key matches the pattern, not even in part."""
    assert re.search(KT.pattern, other) is None


@given(PREFIXES, PREFIXES, SEEDS)
def test_keys_of_another_prefix_are_not_ours(ours: str, theirs: str, seed: int) -> None:
    """The pattern of one installation matches no key of another prefix as a whole."""
    assume(ours != theirs)
    made = key_of(seed, ApiKeyFormat(theirs))
    assert re.fullmatch(ApiKeyFormat(ours).pattern, made.text) is None
    assert outcome_of(made.text.encode(), ApiKeyFormat(ours)) == "foreign"


@pytest.mark.parametrize(
    "prefix",
    ["", "k", "K", "Kt", "1k", "k_t", "k-t", "kt_", "abcdefghijklm", "k.", "ké", "kt\n", " kt", "k٣", ".*"],
)
def test_an_unfit_prefix_is_refused(prefix: str) -> None:
    """A prefix is 2 to 12 lower-case ASCII letters and digits with a letter first."""
    with pytest.raises(ValueError, match="prefix"):
        ApiKeyFormat(prefix)


def test_a_digest_is_sha256_of_every_byte() -> None:
    """K4: a key is stored and looked up as the SHA-256 of the whole text, prefix and checksum included."""
    made = key_of(1)
    assert made.digest == hashlib.sha256(made.text.encode()).digest() == digest_api_key(made.text.encode())


@given(st.binary(min_size=1, max_size=200), st.integers(1, 255), st.data())
def test_keys_that_differ_anywhere_have_different_digests(key: bytes, flip: int, data: st.DataObject) -> None:
    """K5: no byte of a key, be it the last, is left out of the digest."""
    place = data.draw(st.integers(0, len(key) - 1))
    changed = bytearray(key)
    changed[place] ^= flip
    assert digest_api_key(bytes(changed)) != digest_api_key(key)
    assert digest_api_key(key + b"\0") != digest_api_key(key)


@given(SEEDS)
def test_a_new_key_does_not_show_its_secret(seed: int) -> None:
    """Neither repr nor str of a new key holds its text, its secret or its digest."""
    made = key_of(seed)
    for shown in (repr(made), str(made), f"{made}", repr([made])):
        assert made.text not in shown
        assert made.text.split("_")[2][:SECRET_LENGTH] not in shown
        assert made.digest.hex() not in shown
        assert repr(made.digest) not in shown


@given(SEEDS, st.integers(3, 53))
def test_a_refusal_does_not_show_the_key(seed: int, place: int) -> None:
    """No error of a refused key holds any of its secret."""
    text = key_of(seed).text
    broken = text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]
    with pytest.raises(CredentialRefused) as caught:
        KT.check_well_formed(broken.encode())
    shown = f"{caught.value!r} {caught.value} {caught.value.args} {caught.value.__cause__!r}"
    assert all(part not in shown for part in (text[16:26], text[27:37], text[38:48]))


@given(SEEDS)
def test_a_mask_shows_the_public_id_and_the_last_characters_alone(seed: int) -> None:
    """K7: a masked key is prefix, public id and four last characters; the secret is not in it."""
    made = key_of(seed)
    masked = mask("kt", made.public_id, made.last_characters)
    assert masked == f"kt_{made.public_id}_…{made.text[-LAST_CHARACTERS_SHOWN:]}"
    assert outcome_of(masked.encode()) == "malformed"
    # The last four of a native key are checksum: they are worth nothing without the secret.
    assert LAST_CHARACTERS_SHOWN <= CHECKSUM_LENGTH


def test_a_foreign_key_is_masked_to_its_last_characters() -> None:
    """A foreign key has no public id, so its mask is the four last characters."""
    made = KT.import_foreign_key("9f86d081884c7d659a2feaa0c55ad015")
    assert mask("kt", made.public_id, made.last_characters) == "…d015"


@given(st.text(max_size=150) | st.from_regex(r"[A-Za-z0-9_-]{10,140}", fullmatch=True))
def test_an_imported_key_can_be_presented(text: str) -> None:
    """Whatever import takes, the parser takes too; import raises nothing but ValueError."""
    try:
        made = KT.import_foreign_key(text)
    except ValueError:
        return
    assert outcome_of(text.encode("ascii")) == "foreign"
    assert made.digest == digest_api_key(text.encode("ascii"))


@given(st.from_regex(r"kt_[A-Za-z0-9_-]{16,125}", fullmatch=True))
def test_our_own_prefix_cannot_be_imported(text: str) -> None:
    """Nothing that begins with our prefix and its separator is taken over, so no id can be forged."""
    with pytest.raises(ValueError, match="prefix"):
        KT.import_foreign_key(text)


@pytest.mark.parametrize("character", ["a", "Z", "7", "_", "-"])
@pytest.mark.parametrize("length", [32, 128])
def test_one_character_repeated_is_worth_nothing(character: str, length: int) -> None:
    """A text of one character, however long, was not drawn at random and holds no bits."""
    assert character_bits(character * length) < FOREIGN_KEY_MIN_BITS


@pytest.mark.parametrize(
    ("alphabet", "length"),
    [
        ("0123456789", 40),
        ("0123456789abcdef", 28),
        ("0123456789abcdef", 32),
        (BASE62_ALPHABET, 19),
        (BASE62_ALPHABET, 20),
        (BASE62_ALPHABET, 22),
        (BASE62_ALPHABET, 24),
        (BASE62_ALPHABET, 32),
        (BASE62_ALPHABET + "-_", 22),
        (BASE62_ALPHABET + "-_", 43),
    ],
)
def test_random_keys_of_enough_bits_are_taken(alphabet: str, length: int) -> None:
    """A key of at least 112 bits that was drawn at random is not refused as too easy to guess."""
    source = random.Random(7)
    drawn = ["".join(source.choices(alphabet, k=length)) for _ in range(500)]
    refused = sum(character_bits(text) < FOREIGN_KEY_MIN_BITS for text in drawn)
    # The hyphen is not counted, and by bad luck a text may repeat itself: one in a hundred may be refused.
    assert refused <= 5


def test_the_page_prints_the_pattern_of_the_code(documented: Callable[[str], str]) -> None:
    """The regular expressions on the credentials page are the ones that the code uses."""
    assert documented("Pattern of a native key") == KT.pattern
    foreign = f"[A-Za-z0-9_-]{{{FOREIGN_KEY_MIN_LENGTH},{FOREIGN_KEY_MAX_LENGTH}}}"
    assert documented("Pattern of a foreign key") == foreign
    prefix = re.compile(documented("Pattern of a prefix"))
    for text in ("kt", "a1", "abcdefghijkl", "k", "1k", "Kt", "abcdefghijklm", "k_t"):
        try:
            ApiKeyFormat(text)
        except ValueError:
            assert prefix.fullmatch(text) is None
        else:
            assert prefix.fullmatch(text) is not None


def test_the_worked_example_of_the_page_is_right(documented: Callable[[str], str]) -> None:
    """The checksum and the stored digest that the credentials page works out are those of its key."""
    lines = dict(re.split(r" {2,}", line, maxsplit=1) for line in documented("Worked example").splitlines())
    body, key = lines["body"], lines["key"]
    crc = zlib.crc32(body.encode("ascii"))
    assert lines["CRC-32"] == f"{crc:#010x} = {crc}"
    assert lines["base62"] == " ".join(str(BASE62_ALPHABET.index(c)) for c in key[-6:]) + f" -> {key[-6:]}"
    assert key[:-6] == body
    assert outcome_of(key.encode()) == "native"
    assert lines["stored"] == digest_api_key(key.encode()).hex()
    assert lines["shown"] == mask("kt", key.split("_")[1], key[-4:])
