"""Days that people type."""

import re
from datetime import UTC, date, datetime

from keyturn.errors import InvalidInput

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def read_day(field: str, text: str, refusal: str) -> datetime:
    """Return the beginning of a day, in UTC; raise `InvalidInput` with `refusal` for what is none."""
    if _DATE.fullmatch(text) is None:
        raise InvalidInput(field, refusal)
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(field, refusal) from None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
