"""People as facts: frozen, with one owner each, and what holds for them wherever it comes from."""

import dataclasses
from datetime import UTC, datetime

import pytest

from keyturn.core import people
from keyturn.core.people import ProfileRecord, ServiceOwner, UserKind, UserRecord

NOW = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
PROFILE = ProfileRecord(1, None, None, None, None, None, None, None, None, {}, NOW, NOW)
RECORDS = [
    found for found in vars(people).values() if isinstance(found, type) and dataclasses.is_dataclass(found)
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_record_is_frozen_and_slotted(record: type) -> None:
    """A fact that was read does not change under way, and takes no new attributes."""
    assert record.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in vars(record)


@pytest.mark.parametrize("owner", [{}, {"user_id": 1, "group_id": 1}])
def test_a_service_account_has_one_owner(owner: dict[str, int]) -> None:
    """A service account of nobody, or of two, cannot even be said."""
    with pytest.raises(ValueError, match="one owner"):
        ServiceOwner(**owner)


def user_with(own: people.Attributes, of_groups: people.Attributes) -> UserRecord:
    return UserRecord(
        user_id=7,
        iamid="bim",
        userid="ada",
        kind=UserKind.PERSON,
        permissions=frozenset(),
        profile=PROFILE,
        attributes=own,
        group_attributes=of_groups,
        owner=None,
        has_password=True,
        password_changed_at=None,
        is_disabled=False,
        last_login_at=None,
        created_at=NOW,
        updated_at=NOW,
    )


@pytest.mark.parametrize(
    ("own", "of_groups", "together"),
    [
        ({}, {}, {}),
        ({"a": ("1",)}, {}, {"a": ("1",)}),
        ({}, {"a": ("1",)}, {"a": ("1",)}),
        ({"b": ("2", "9")}, {"b": ("1", "2"), "a": ("3",)}, {"a": ("3",), "b": ("1", "2", "9")}),
        ({"a": ("1",)}, {"A": ("1",)}, {"A": ("1",), "a": ("1",)}),
    ],
)
def test_authorizations_are_the_union(
    own: people.Attributes, of_groups: people.Attributes, together: people.Attributes
) -> None:
    """Their own attributes and those of their groups hold together, each value once, in order."""
    authorizations = user_with(own, of_groups).authorizations
    assert authorizations == together
    assert list(authorizations) == sorted(authorizations)
