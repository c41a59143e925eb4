"""Attributes of users and of groups: rows of a name and a value."""

from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Column, Table, delete, insert, select, update

from keyturn.core.attributes import AttributeChange, difference
from keyturn.core.audit import AuditEntry
from keyturn.store.database.schema import group, group_attribute, user, user_attribute
from keyturn.store.database.transactions import Database
from keyturn.store.people.rows import NO_VALUE, gathered_attributes


class Holders(NamedTuple):
    """Those who have attributes, and where these are."""

    things: Table
    attributes: Table
    holder: Column[Any]


OF_USERS = Holders(user, user_attribute, user_attribute.c.user_id)
OF_GROUPS = Holders(group, group_attribute, group_attribute.c.group_id)


def change_attributes(
    database: Database,
    holders: Holders,
    number: int,
    change_to: AttributeChange,
    at: datetime,
    audit: AuditEntry,
) -> bool:
    """Give a user or group the attributes that `change_to` makes of theirs; False if that changes nothing.

    The audit row tells what was added and removed.
    """
    things, attributes, holder = holders
    with database.change() as change:
        # Changes of one holder queue here: what is decided is still so when it is written.
        locked = select(things.c.id).where(things.c.id == number).with_for_update(key_share=True)
        if change.connection.execute(locked).first() is None:
            return False
        held = select(holder, attributes.c.name, attributes.c.value).where(holder == number)
        before = gathered_attributes(change.connection.execute(held).all()).get(number, {})
        after = change_to(before)
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        if not changed:
            return False
        change.connection.execute(delete(attributes).where(holder == number, attributes.c.name.in_(changed)))
        rows = [
            {holder.name: number, "name": name, "value": value}
            for name in changed
            if name in after
            for value in after[name] or (NO_VALUE,)
        ]
        if rows:
            change.connection.execute(insert(attributes), rows)
        change.connection.execute(update(things).where(things.c.id == number).values(updated_at=at))
        details = {"added": difference(after, before), "removed": difference(before, after)}
        change.record(replace(audit, details={name: of for name, of in details.items() if of}))
    return True
