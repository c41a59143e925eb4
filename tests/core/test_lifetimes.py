"""The rule for how long a key may live, at exactly its instants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from keyturn.core.lifetimes import MAX_LIFE, KeyLife, Lifetime
from keyturn.errors import InvalidInput

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
DAY = timedelta(days=1)


@pytest.mark.parametrize("allows_never", [True, False])
@pytest.mark.parametrize(
    ("lifetime", "expected"),
    [
        (None, NOW + DAY),
        (Lifetime(NOW + MILLISECOND), NOW + MILLISECOND),
        (Lifetime(NOW + MAX_LIFE), NOW + MAX_LIFE),
        (Lifetime((NOW + DAY).astimezone(timezone(timedelta(hours=-9)))), NOW + DAY),
        (Lifetime(NOW + DAY + timedelta(microseconds=999)), NOW + DAY),
    ],
)
def test_an_end_within_ten_years_is_taken(
    lifetime: Lifetime | None, expected: datetime, *, allows_never: bool
) -> None:
    """A key ends when its maker chose, in milliseconds and in UTC, or after the default."""
    assert KeyLife(DAY, allows_never=allows_never).end_of(lifetime, NOW) == expected


@pytest.mark.parametrize("allows_never", [True, False])
@pytest.mark.parametrize(
    "end",
    [
        NOW,
        NOW - DAY,
        NOW + MAX_LIFE + MILLISECOND,
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=10))),
        datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-10))),
    ],
)
def test_no_other_end_is_taken(end: datetime, *, allows_never: bool) -> None:
    """An end that is past, or further ahead than ten years, is refused by the name of its field."""
    with pytest.raises(InvalidInput) as refused:
        KeyLife(DAY, allows_never=allows_never).end_of(Lifetime(end), NOW)
    assert refused.value.field == "expiresAt"


def test_never_is_for_those_who_allow_it() -> None:
    """A key without an end is made where the operator allows it, and nowhere else."""
    assert KeyLife(DAY, allows_never=True).end_of(Lifetime(None), NOW) is None
    with pytest.raises(InvalidInput, match="not allowed"):
        KeyLife(DAY, allows_never=False).end_of(Lifetime(None), NOW)
