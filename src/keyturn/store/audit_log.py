"""The audit log, for reading: rows are written by the changes that they tell of."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, func, literal_column, or_, select

from keyturn.core.audit import (
    LEAVES_RULES,
    AuditAction,
    AuditedChange,
    AuditedKey,
    AuditEntry,
    AuditRow,
    AuditSearch,
    ChangesSince,
    Effect,
    Mark,
    Target,
    effect_of,
)
from keyturn.core.folding import folded
from keyturn.errors import Conflict, StoreUnavailable
from keyturn.store.database.schema import (
    api_key,
    as_stored,
    audit,
    group,
    installation,
    profile,
    project,
    resource,
    user,
)
from keyturn.store.database.statements import CompiledQuery
from keyturn.store.database.transactions import Database

MAX_CHANGES_AT_ONCE = 1000
"""More changes than this are not told one by one: forgetting everything is cheaper."""


class AuditLog:
    """Questions about what happened."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, entry: AuditEntry) -> None:
        """Write of something that changed nothing, such as a refused login for an unknown name."""
        with self._database.change() as change:
            change.record(entry)

    def newest(self) -> Mark:
        """Return the mark of the newest change."""
        newest = Mark(*self._database.query(_NEWEST)[0])
        self._database.note_read(newest.revision)
        return newest

    def changes_since(self, mark: Mark, *, at_most: int | None = None) -> ChangesSince:
        """Return what changed after `mark`, up to the newest; anything, if that event is no longer there.

        More than `at_most` changes, `MAX_CHANGES_AT_ONCE` without it, are not told one by one either.

        Raise `StoreUnavailable` if the database is older than that: a primary that was left behind in a
        failover must not be believed (D7).
        """
        newest = self.newest()
        if newest == mark:
            return ChangesSince(newest, ())
        if newest.revision < mark.revision:
            raise StoreUnavailable("the database is older than what was read from it before")
        if newest.revision - mark.revision > (at_most or MAX_CHANGES_AT_ONCE):
            return ChangesSince(newest, None)
        rows = self._database.query(_CHANGES, first=mark.revision, newest=newest.revision)
        if mark.revision == 0:  # Which no event has.
            rows = [(None, None, None, None, "{}"), *rows]
        is_whole = len(rows) == newest.revision - mark.revision + 1 and rows[0][0] == mark.event_id
        return ChangesSince(newest, tuple(map(_audited_change, rows[1:])) if is_whole else None)

    def find_oldest(self) -> AuditRow | None:
        """Return the first event that is not archived yet; None before the first of all."""
        with self._database.reading() as connection:
            row = connection.execute(select(audit).order_by(audit.c.revision).limit(1)).one_or_none()
        return None if row is None else _audit_row(row)

    def last_revision_before(self, before: datetime) -> int:
        """Return the revision up to which all events are from before this time; 0 for none.

        The newest event is not among them: marks of readers are compared with it.
        """
        last = select(installation.c.revision).scalar_subquery()
        later = (
            select(audit.c.revision).where(audit.c.at >= before).order_by(audit.c.revision).limit(1)
        ).scalar_subquery()
        with self._database.reading() as connection:
            end, stop = connection.execute(select(last, later)).one()
        until: int = min(end, end if stop is None else stop) - 1
        return until

    def find_archived(self) -> Mapping[str, Any] | None:
        """Return the details of the newest event that tells of an archive; None before the first one."""
        query = select(audit.c.details).where(*_IS_ARCHIVED).order_by(audit.c.id.desc()).limit(1)
        with self._database.reading() as connection:
            found: Mapping[str, Any] | None = connection.execute(query).scalar_one_or_none()
        return found

    def record_archive(self, entry: AuditEntry, *, after: int) -> None:
        """Write that events are in a file, and may go. It follows the file whose last revision is `after`.

        Raise `Conflict` if there is another file since.
        """
        with self._database.change(entry) as change:
            change.record(entry)  # It takes the lock: nobody records another one until this is committed.
            query = select(audit.c.details).where(*_IS_ARCHIVED, audit.c.revision < change.revision)
            newest = change.connection.execute(
                query.order_by(audit.c.id.desc()).limit(1)
            ).scalar_one_or_none()
            if (0 if newest is None else newest["last"]) != after:
                raise Conflict("Another process archived events just now.")

    def has_changed_rules(self, *, after: int, until: int) -> bool:
        """Return whether which scopes there are, or who may hold them, may have changed between revisions.

        Whether somebody is in a group is no part of that: it is read with them. Of events that are archived
        nobody knows.
        """
        if after < until and not self._database.query(_IS_THERE, revision=after + 1):
            return True
        return bool(self._database.query(_CHANGED_RULES, first=after, newest=until))

    def list_after(self, audit_id: int = 0, *, limit: int = 200) -> list[AuditRow]:
        """Return the rows after this one, in the order they were committed."""
        return self.search(AuditSearch(), after=audit_id, size=limit)

    def search(
        self, wanted: AuditSearch, *, after: int | None = None, before: int | None = None, size: int
    ) -> list[AuditRow]:
        """Return rows that are looked for: the first ones `after` an id, or else the last ones `before` one.

        In the order they were committed with `after`, else the newest first. Rows never change, and none
        comes in between: reading on from the last id misses none.
        """
        query = select(audit).where(*_conditions(wanted)).limit(size)
        if after is not None:
            query = query.where(audit.c.id > after).order_by(audit.c.id)
        else:
            query = query.order_by(audit.c.id.desc())
            if before is not None:
                query = query.where(audit.c.id < before)
        with self._database.reading() as connection:
            return [_audit_row(row) for row in connection.execute(query).all()]

    def name_users(self, user_ids: Collection[int]) -> tuple[dict[int, str], dict[int, str]]:
        """Return the names and the user names of those users that are still there."""
        query = (
            select(user.c.id, user.c.userid, profile.c.name)
            .outerjoin(profile, profile.c.user_id == user.c.id)
            .where(user.c.id.in_(sorted(user_ids)))
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return {row.id: row.name or row.userid for row in rows}, {row.id: row.userid for row in rows}

    def name_keys(self, key_ids: Collection[int]) -> dict[int, AuditedKey]:
        """Return what these keys are called, and whose they are."""
        query = select(api_key.c.id, api_key.c.name, api_key.c.user_id).where(
            api_key.c.id.in_(sorted(key_ids))
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return {row.id: AuditedKey(row.name, row.user_id) for row in rows}

    def name_things(self, kind: Target, thing_ids: Collection[int]) -> dict[int, str]:
        """Return the names of groups, projects or APIs."""
        table = {Target.GROUP: group, Target.PROJECT: project, Target.RESOURCE: resource}[kind]
        query = select(table.c.id, table.c.name).where(table.c.id.in_(sorted(thing_ids)))
        with self._database.reading() as connection:
            return {row.id: row.name for row in connection.execute(query).all()}


def _audited_change(row: tuple[Any, ...]) -> AuditedChange:
    _event_id, action, target_type, target_id, details = row
    about = msgspec.json.decode(details, type=_About)
    return AuditedChange(action, target_type, target_id, about.userId, about.sessionId, about.keyIds)


class _About(msgspec.Struct):
    """The part of the details of an audit row that names a user, a session that began, or keys that ended."""

    userId: int | None = None  # noqa: N815 - as it is stored
    sessionId: int | None = None  # noqa: N815 - as it is stored
    keyIds: tuple[int, ...] = ()  # noqa: N815 - as it is stored


def _conditions(wanted: AuditSearch) -> list[Any]:
    equal = (
        (audit.c.action, wanted.action),
        (audit.c.actor_key_id, wanted.actor_key_id),
        (audit.c.target_type, wanted.target_type),
        (audit.c.target_id, wanted.target_id),
        (audit.c.succeeded, wanted.succeeded),
    )
    conditions: list[Any] = [column == value for column, value in equal if value is not None]
    if wanted.user_id is not None:
        is_target = (audit.c.target_type == Target.USER.value) & (audit.c.target_id == str(wanted.user_id))
        conditions.append((audit.c.actor_user_id == wanted.user_id) | is_target)
    if wanted.since is not None:
        conditions.append(audit.c.at >= wanted.since)
    if wanted.until is not None:
        conditions.append(audit.c.at < wanted.until)
    if wanted.actor is not None:
        is_called = func.lower(audit.c.actor_userid).contains(wanted.actor.lower(), autoescape=True)
        if wanted.sees_people:
            people = select(profile.c.user_id).where(
                profile.c.searched.contains(folded(wanted.actor), autoescape=True)
            )
            is_called = or_(is_called, audit.c.actor_user_id.in_(people))
        conditions.append(is_called)
    return conditions


def _audit_row(row: Row[Any]) -> AuditRow:
    return AuditRow(
        audit_id=row.id,
        event_id=row.event_id,
        revision=row.revision,
        at=row.at,
        action=row.action,
        succeeded=row.succeeded,
        actor_user_id=row.actor_user_id,
        actor_userid=row.actor_userid,
        actor_key_id=row.actor_key_id,
        target_type=row.target_type,
        target_id=row.target_id,
        address=row.address,
        user_agent=row.user_agent,
        request_id=row.request_id,
        details=row.details,
    )


_NEWEST = CompiledQuery(
    select(installation.c.revision, audit.c.event_id).select_from(
        installation.outerjoin(audit, audit.c.revision == installation.c.revision)
    )
)
_IS_ARCHIVED = (
    audit.c.target_type == Target.AUDIT_LOG.value,
    audit.c.action == AuditAction.AUDIT_PRUNED.value,
)
_IS_THERE = CompiledQuery(select(audit.c.revision).where(audit.c.revision == bindparam("revision")))
_OF_MEMBERS = [action for action in AuditAction if effect_of(action) is Effect.CHANGES_MEMBER]
_CHANGED_RULES = CompiledQuery(
    select(audit.c.revision).where(
        audit.c.revision > bindparam("first"),
        audit.c.revision <= bindparam("newest"),
        *(audit.c.target_type != literal_column(f"'{target.value}'") for target in sorted(LEAVES_RULES)),
        *(audit.c.action != literal_column(f"'{action.value}'") for action in _OF_MEMBERS),
    )
)
_CHANGES = CompiledQuery(
    select(
        audit.c.event_id,
        audit.c.action,
        audit.c.target_type,
        audit.c.target_id,
        as_stored(audit.c.details),
    )
    .where(audit.c.revision >= bindparam("first"), audit.c.revision <= bindparam("newest"))
    .order_by(audit.c.revision)
)
