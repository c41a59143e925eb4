"""What decides whether an owner's credentials work, read the same way for keys and for sessions."""

from collections.abc import Callable
from functools import lru_cache

import msgspec
from sqlalchemy import Connection, select

from keyturn.core.records import OwnerRecord
from keyturn.core.sources import Network, read_network
from keyturn.store.schema import as_stored, profile, user

CheckPermissions = Callable[[frozenset[str]], None]
"""Raises if nothing may be made for somebody who holds these permissions."""

REMEMBERED = 4096
"""How many different sets of permissions, scopes and networks are kept parsed, each once."""

OWNER_COLUMNS = (
    user.c.id.label("owner_id"),
    user.c.userid,
    user.c.iamid,
    as_stored(user.c.permissions),
    as_stored(user.c.disabled_at),
    user.c.epoch.label("owner_epoch"),
    profile.c.name.label("owner_name"),
)


def owner_record(
    user_id: int,
    userid: str,
    iamid: str,
    permissions: str,
    disabled_at: int | None,
    epoch: int,
    name: str | None,
) -> OwnerRecord:
    """Read `OWNER_COLUMNS`."""
    return OwnerRecord(
        user_id=user_id,
        userid=userid,
        iamid=iamid,
        name=name,
        permissions=read_words(permissions),
        is_disabled=disabled_at is not None,
        epoch=epoch,
    )


def allow_any(_permissions: frozenset[str]) -> None:
    """Raise nothing, whatever the user holds."""


def check_permissions_of(connection: Connection, user_id: int, check: CheckPermissions) -> bool:
    """Check what a user holds, their row locked until the change is done; False if there is no such user.

    What else changes an account begins with its row too: else two such changes could wait for each other.
    """
    query = select(user.c.permissions).where(user.c.id == user_id).with_for_update()
    held = connection.execute(query).scalar_one_or_none()
    if held is None:
        return False
    check(frozenset(held))
    return True


@lru_cache(REMEMBERED)
def read_words(stored: str) -> frozenset[str]:
    """Read a stored set of permissions or scopes."""
    return frozenset(msgspec.json.decode(stored, type=list[str]))


@lru_cache(REMEMBERED)
def read_networks(stored: str) -> tuple[Network, ...]:
    """Read the stored networks of a key."""
    return tuple(map(read_network, msgspec.json.decode(stored, type=list[str])))
