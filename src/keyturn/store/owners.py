"""The columns that decide whether an owner's credentials work, shared by keys and sessions."""

from typing import Any

from sqlalchemy import Row

from keyturn.core.records import OwnerRecord
from keyturn.store.schema import profile, user

OWNER_COLUMNS = (
    user.c.id.label("owner_id"),
    user.c.userid,
    user.c.iamid,
    user.c.permissions,
    user.c.disabled_at,
    profile.c.name.label("owner_name"),
)


def owner_record(row: Row[Any]) -> OwnerRecord:
    """Read `OWNER_COLUMNS`."""
    return OwnerRecord(
        user_id=row.owner_id,
        userid=row.userid,
        iamid=row.iamid,
        name=row.owner_name,
        permissions=frozenset(row.permissions),
        is_disabled=row.disabled_at is not None,
    )
