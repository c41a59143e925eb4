"""Days that people type."""

import re
from datetime import UTC, date, datetime, time, tzinfo

from keyturn.errors import InvalidInput

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def read_day(field: str, text: str, refusal: str) -> date:
    """Read a day; raise `InvalidInput` with `refusal` for what is none."""
    if _DATE.fullmatch(text) is None:
        raise InvalidInput(field, refusal)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(field, refusal) from None


def beginning_of(day: date, zone: tzinfo = UTC) -> datetime:
    """Return when a day begins in a zone: where the clocks skip midnight, with the first moment after it."""
    return datetime.combine(day, time.min, zone).astimezone(UTC)
