"""What the store holds: frozen facts that show no secret."""

import dataclasses
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from msgspec import structs

from keyturn.core import records
from keyturn.core.people import LoginRecord
from keyturn.core.records import MAX_ID, ApiKeyRecord, KeyState, SigningKeyRecord, is_id

NOW = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
KEY = ApiKeyRecord(
    key_id=42,
    user_id=7,
    name="laptop",
    masked="kt_7hQ2mZ9fT1xD_…HwfW",
    created_at=NOW,
    expires_at=None,
    revoked_at=None,
    last_use=None,
)
RECORDS = [
    found
    for found in vars(records).values()
    if isinstance(found, type) and (dataclasses.is_dataclass(found) or issubclass(found, msgspec.Struct))
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_record_is_frozen_and_slotted(record: type) -> None:
    """A fact that was read does not change under way, and takes no new attributes."""
    if issubclass(record, msgspec.Struct):
        assert record.__struct_config__.frozen
        return  # It takes no new attributes whatever it says.
    assert record.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in vars(record)


@pytest.mark.parametrize(
    ("late_by", "state"),
    [(-MILLISECOND, KeyState.ACTIVE), (timedelta(), KeyState.EXPIRED), (MILLISECOND, KeyState.EXPIRED)],
)
def test_a_list_calls_a_key_expired_from_exactly_its_expiry(late_by: timedelta, state: KeyState) -> None:
    """What a list says of a key changes at the instant at which the key dies."""
    assert structs.replace(KEY, expires_at=NOW).state(NOW + late_by) is state


def test_a_list_calls_a_revoked_key_revoked() -> None:
    """Revoked is said before expired, and a key without an expiry is active for ever."""
    assert structs.replace(KEY, revoked_at=NOW, expires_at=NOW).state(NOW) is KeyState.REVOKED
    assert structs.replace(KEY, revoked_at=NOW + timedelta(days=1)).state(NOW) is KeyState.REVOKED
    assert KEY.state(datetime.max.replace(tzinfo=UTC)) is KeyState.ACTIVE


def test_no_record_shows_its_secret() -> None:
    """The hash of a password and a sealed signing key are in no repr."""
    login = LoginRecord(7, "bim", "ada@example.org", "$argon2id$canary", 0, None, is_disabled=False)
    sealed = SigningKeyRecord("vector-es256", "ES256", b"canary", NOW, NOW)
    assert "canary" not in repr(login) + str(login) + repr(sealed) + str(sealed)


@pytest.mark.parametrize(
    ("number", "answer"),
    [(-1, False), (0, False), (1, True), (MAX_ID, True), (MAX_ID + 1, False), (10**400, False)],
)
def test_an_id_is_what_a_database_can_hold(number: int, answer: bool) -> None:
    """Only a positive number that fits 64 bits with a sign can be the id of anything."""
    assert MAX_ID == 2**63 - 1
    assert is_id(number) is answer
