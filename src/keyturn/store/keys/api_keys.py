"""API keys."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from keyturn.core.audit import AuditEntry
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.people import UserKind
from keyturn.core.principal import Principal
from keyturn.core.records import (
    ApiKeyRecord,
    ConnectionCaller,
    KeyCaller,
    KeyForVerification,
    KeyUsage,
    LastUse,
    OwnedKey,
    UseCount,
)
from keyturn.core.restriction_kinds import KINDS
from keyturn.core.restrictions import UNRESTRICTED, Restrictions, restore_restrictions
from keyturn.core.searches import KeyCounts, KeySearch
from keyturn.errors import QuotaExceeded
from keyturn.store.database.credentials import find_key, find_key_by_id
from keyturn.store.database.rows import changed_values
from keyturn.store.database.schema import (
    api_key,
    api_key_use,
    former_secret,
    profile,
    user,
)
from keyturn.store.database.statements import CompiledQuery
from keyturn.store.database.transactions import Database, refusing_twins
from keyturn.store.keys.search import conditions_of, counts_of, order_of
from keyturn.store.keys.uses import (
    find_callers,
    find_callers_by_via,
    find_uses_by_day,
    write_uses,
)
from keyturn.store.ownership.control import Allow, check_may_act_as


@dataclass(frozen=True, slots=True)
class KeyToAdd:
    """A key about to be stored."""

    user_id: int
    digest: bytes = field(repr=False)
    masked: str
    name: str | None
    created_at: datetime
    expires_at: datetime | None
    note: str | None = None
    idempotency_key: str | None = None
    """Given by the caller so that a retry finds the key that the first try made; one per user."""
    restrictions: Restrictions = UNRESTRICTED
    project_id: int | None = None
    """The project whose connections alone the key may see; None for no such bound."""
    at_most: int | None = None
    """How many living keys its user may have, this one too; None for any number."""


class ApiKeys:
    """Questions about API keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find_for_verification(self, digest: bytes) -> KeyForVerification | None:
        """Return the key with this digest, alive or not, with its owner; None if there never was one.

        A secret that was rotated away finds its key too, and is told, until the next rotation.
        """
        return find_key(self._database.query, digest)

    def find_for_token(self, key_id: int) -> KeyForVerification | None:
        """Return the key that a token names, alive or not, with its owner."""
        return find_key_by_id(self._database.query, key_id)

    def add(self, key: KeyToAdd, audit: AuditEntry, *, allow: Allow | None = None) -> ApiKeyRecord:
        """Store a key; raise `Conflict` if its digest or its idempotency key is there already.

        Raise `QuotaExceeded` if its user has as many as they may. `allow` is asked about the permissions that
        come with the account of its user.
        """
        with refusing_twins("This key exists already."), self._database.change() as change:
            record = insert_key(change.connection, key)
            change.record(audit, target_id=record.key_id)
            if allow is not None:
                check_may_act_as(change.connection, key.user_id, allow)
        return record

    def replace_secret(self, key: KeyToAdd, audit: AuditEntry) -> ApiKeyRecord | None:
        """Give the living key that has `key.idempotency_key` a new secret; None if there is none.

        Tokens that were made with the old secret end with it.

        Only if that key ends no later than `key` would: a retry must not win more than a first try.
        """
        not_later = api_key.c.expires_at <= key.expires_at if key.expires_at is not None else true()
        if key.idempotency_key is None:
            return None
        with self._database.change() as change:
            row = change.connection.execute(
                update(api_key)
                .where(
                    api_key.c.user_id == key.user_id,
                    api_key.c.idempotency_key == key.idempotency_key,
                    api_key.c.name.is_not_distinct_from(key.name),
                    api_key.c.project_id.is_not_distinct_from(key.project_id),
                    # Whoever is narrowed must not win what is not.
                    *(
                        api_key.c[name].is_not_distinct_from(value)
                        for name, value in key.restrictions.to_columns().items()
                    ),
                    api_key.c.revoked_at.is_(None),
                    or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > key.created_at),
                    not_later,
                )
                .values(
                    digest=key.digest,
                    masked=key.masked,
                    epoch=api_key.c.epoch + 1,
                    secret_number=api_key.c.secret_number + 1,
                )
                .returning(*_RECORD)
            ).one_or_none()
            if row is not None:
                # A secret from before a rotation was to go on beside the one that ends now.
                change.connection.execute(delete(former_secret).where(former_secret.c.key_id == row.id))
                change.record(audit, target_id=row.id)
        return None if row is None else _record(row)

    def revoke(self, key_id: int, user_id: int, at: datetime, audit: AuditEntry) -> bool:
        """End a key of this user; return False, and change nothing, if there is no such living key."""
        with self._database.change() as change:
            changed = change.connection.execute(
                update(api_key)
                .where(api_key.c.id == key_id, api_key.c.user_id == user_id, api_key.c.revoked_at.is_(None))
                .values(revoked_at=at)
            ).rowcount
            if changed:
                change.record(audit)
        return bool(changed)

    def revoke_some(self, key_ids: Collection[int], at: datetime, audit: AuditEntry) -> int:
        """End those of these keys that are alive, in one transaction; return how many there were.

        `audit` is written for each of them, with its number as the target.
        """
        living = and_(api_key.c.id.in_(key_ids), api_key.c.revoked_at.is_(None))
        with self._database.change() as change:
            lock_keys(change.connection, living)
            ended = change.connection.execute(
                update(api_key).where(living).values(revoked_at=at).returning(api_key.c.id)
            ).scalars()
            numbers = sorted(ended)
            for number in numbers:
                change.record(audit, target_id=number)
        return len(numbers)

    def update(self, key_id: int, user_id: int, values: Mapping[str, str | None], audit: AuditEntry) -> bool:
        """Change the name or the note of a key of this user; return False if there is no such key.

        The audit row tells what is different; nothing is written where nothing is.
        """
        with self._database.change() as change:
            changed = changed_values(change.connection, api_key, values, id=key_id, user_id=user_id)
            if changed is None:
                return False
            if changed:
                change.connection.execute(update(api_key).where(api_key.c.id == key_id).values(changed))
                change.record(replace(audit, details=changed))
        return True

    def find_of_user(self, key_id: int, user_id: int) -> ApiKeyRecord | None:
        """Return a key if it is this user's."""
        with self._database.reading() as connection:
            return find_listed_key(connection, key_id, user_id)

    def find_owner(self, key_id: int) -> int | None:
        """Return the id of the user who owns a key: for administrators, who may ask for any."""
        with self._database.reading() as connection:
            return connection.execute(
                select(api_key.c.user_id).where(api_key.c.id == key_id)
            ).scalar_one_or_none()

    def list_of_user(self, user_id: int, *, offset: int = 0, size: int = MAX_PAGE) -> Page[ApiKeyRecord]:
        """Return at most `size` keys of a user, dead ones too, the newest first."""
        (counted,) = self._database.read(_COUNT_OF_USER, user_id=user_id)
        rows = self._database.read(_OF_USER, user_id=user_id, size=size, skipped=offset)
        return Page(counted.number, tuple(map(_record, rows)))

    def list_active(self, user_id: int, *, now: datetime, offset: int = 0, size: int) -> Page[ApiKeyRecord]:
        """Return at most `size` of a user's living keys, the newest first."""
        given = {"owner": user_id, "now": now}
        with self._database.reading() as connection:
            count = connection.execute(_LIVING, given).scalar_one()
            rows = connection.execute(_LISTED_LIVING.limit(size).offset(offset), given).all()
        return Page(count, tuple(map(_record, rows)))

    def list_ended(self, user_id: int, *, now: datetime, offset: int = 0, size: int) -> Page[ApiKeyRecord]:
        """Return at most `size` of a user's keys that are revoked or over, the newest first."""
        given = {"owner": user_id, "now": now}
        with self._database.reading() as connection:
            count = connection.execute(_ENDED, given).scalar_one()
            rows = connection.execute(_LISTED_ENDED.limit(size).offset(offset), given).all()
        return Page(count, tuple(map(_record, rows)))

    def search(self, wanted: KeySearch, *, now: datetime, offset: int, size: int) -> Page[OwnedKey]:
        """Return at most `size` of the keys that are looked for, in their order, with their owners."""
        conditions = conditions_of(wanted, now)
        keys = api_key.join(user, user.c.id == api_key.c.user_id)
        with self._database.reading() as connection:
            count = connection.execute(select(func.count()).select_from(keys).where(*conditions)).scalar_one()
            rows = connection.execute(
                select(
                    *_LISTED,
                    user.c.userid,
                    user.c.kind,
                    user.c.disabled_at,
                    profile.c.name.label("owner_name"),
                )
                .select_from(keys.outerjoin(profile, profile.c.user_id == user.c.id))
                .where(*conditions)
                .order_by(*order_of(wanted, now))
                .offset(offset)
                .limit(size)
            ).all()
        items = map(_owned_key, rows)
        return Page(count, tuple(items))

    def numbers(self, wanted: KeySearch, *, now: datetime, size: int) -> tuple[int, ...]:
        """Return the numbers of at most `size` of the keys that are looked for, the oldest first."""
        query = (
            select(api_key.c.id)
            .select_from(api_key.join(user, user.c.id == api_key.c.user_id))
            .where(*conditions_of(wanted, now))
            .order_by(api_key.c.id)
            .limit(size)
        )
        with self._database.reading() as connection:
            return tuple(connection.execute(query).scalars())

    def count_parts(self, wanted: KeySearch, *, now: datetime) -> KeyCounts:
        """Return how many of the keys that are looked for are in each part, whatever part is asked for."""
        conditions = conditions_of(replace(wanted, part=None), now)
        keys = api_key.join(user, user.c.id == api_key.c.user_id)
        with self._database.reading() as connection:
            row = connection.execute(select(*counts_of(now)).select_from(keys).where(*conditions)).one()
        return KeyCounts(*map(int, row))

    def record_use(
        self, uses: Mapping[int, KeyUsage], *, reported: tuple[Principal, datetime] | None = None
    ) -> None:
        """Write how keys were used and refused, and who presented them.

        Counts are added; an older use never overwrites a newer one. `reported` is who tells of them, and
        when; None for this process itself. Raise `CredentialRefused` if their credential has ended meanwhile.
        """
        if not uses:
            return
        with self._database.writing() as connection:
            # All of them: what is written passes over a key whose last use is known to be newer.
            lock_keys(connection, api_key.c.id.in_(sorted(uses)))
            if reported is not None:
                self._database.check_caller_lives(connection, *reported)
            write_uses(connection, dict(sorted(uses.items())))

    def count_living(self, user_ids: Collection[int], *, now: datetime) -> dict[int, int]:
        """Return how many living keys each of these users has, without those who have none."""
        query = (
            select(api_key.c.user_id, func.count().label("number"))
            .where(
                api_key.c.user_id.in_(user_ids),
                api_key.c.revoked_at.is_(None),
                or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > now),
            )
            .group_by(api_key.c.user_id)
        )
        with self._database.reading() as connection:
            return {row.user_id: row.number for row in connection.execute(query)}

    def count_uses(self, user_id: int, *, since_hour: int) -> dict[int, int]:
        """Return how often each of a user's keys was used since that hour; unused ones are left out."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(api_key_use.c.key_id, func.sum(api_key_use.c.uses))
                .join(api_key, api_key.c.id == api_key_use.c.key_id)
                .where(api_key.c.user_id == user_id, api_key_use.c.hour >= since_hour, api_key_use.c.uses > 0)
                .group_by(api_key_use.c.key_id)
            ).all()
        return {key_id: int(uses) for key_id, uses in rows}

    def uses_by_day(
        self, key_ids: Collection[int], since_hour: int, *, shift_hours: int = 0
    ) -> dict[int, dict[int, UseCount]]:
        """Return how often each of these keys was used and refused, by day; see `core.key_uses.day_of`.

        Only hours since `since_hour` count. Keys and days without any are left out.
        """
        with self._database.reading() as connection:
            return find_uses_by_day(connection, key_ids, since_hour, shift_hours)

    def callers(self, key_id: int) -> tuple[KeyCaller, ...]:
        """Return who presented a key last, `MAX_CALLERS` at most, the newest first."""
        with self._database.reading() as connection:
            return find_callers(connection, key_id)

    def callers_by_via(
        self, vias: Collection[str], *, user_id: int | None, size: int
    ) -> tuple[ConnectionCaller, ...]:
        """Return at most `size` callers whose last request was one of these, the newest first.

        They are requests for a connection, as `LastUse.via` has them. With `user_id`, of that user alone.
        """
        with self._database.reading() as connection:
            return find_callers_by_via(connection, vias, user_id=user_id, size=size)


_RECORD = tuple(
    api_key.c[name]
    for name in (
        "id",
        "user_id",
        "name",
        "note",
        "masked",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
        "last_used_address",
        "last_used_via",
        "last_used_agent",
        "project_id",
        *(kind.name for kind in KINDS),
    )
)
_LISTED = (
    *_RECORD,
    select(former_secret.c.ends_at)
    .where(former_secret.c.key_id == api_key.c.id)
    .scalar_subquery()
    .label("former_secret_ends_at"),
)
"""The part of a listed key that lies beyond its own row."""

_IS_OF_USER = api_key.c.user_id == bindparam("user_id")
_OF_USER = CompiledQuery(
    select(*_LISTED)
    .where(_IS_OF_USER)
    .order_by(api_key.c.id.desc())
    .limit(bindparam("size"))
    .offset(bindparam("skipped"))
)
_COUNT_OF_USER = CompiledQuery(select(func.count().label("number")).select_from(api_key).where(_IS_OF_USER))


_NO_COLUMNS = frozenset({"at_most", "restrictions"})
_ADD = insert(api_key).returning(*_RECORD)


def insert_key(connection: Connection, key: KeyToAdd) -> ApiKeyRecord:
    """Store a key within the change that makes it; raise `QuotaExceeded` if its user has too many."""
    if key.at_most is not None:
        _check_quota(connection, key, key.at_most)
    values = {name: getattr(key, name) for name in KeyToAdd.__slots__ if name not in _NO_COLUMNS}
    values |= key.restrictions.to_columns()
    return _record(connection.execute(_ADD, values).one())


def _check_quota(connection: Connection, key: KeyToAdd, at_most: int) -> None:
    # Locked first: of two who make the last key at the same instant one is refused.
    connection.execute(_OWNER_ALONE, {"owner": key.user_id})
    living = connection.execute(_LIVING, {"owner": key.user_id, "now": key.created_at}).scalar_one()
    if living >= at_most:
        raise QuotaExceeded(
            f"This account has {living} living keys, and may have {at_most}: revoke some that are not used."
        )


def lock_keys(connection: Connection, *conditions: Any) -> list[int]:
    """Return the ids of these keys in order, their rows locked until the change is done.

    Whatever changes or deletes several keys begins with this, once the account is locked that they belong to:
    two that went through them in different orders could wait for each other for ever.
    """
    query = select(api_key.c.id).where(*conditions).order_by(api_key.c.id).with_for_update()
    return list(connection.execute(query).scalars())


def find_listed_key(connection: Connection, key_id: int, user_id: int) -> ApiKeyRecord | None:
    """Return a key if it is this user's, within a transaction."""
    query = select(*_LISTED).where(api_key.c.id == key_id, api_key.c.user_id == user_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else _record(row)


def _record(row: Row[Any]) -> ApiKeyRecord:
    last_use = None
    former_ends_at = getattr(row, "former_secret_ends_at", None)
    if row.last_used_at is not None:
        last_use = LastUse(row.last_used_at, row.last_used_address, row.last_used_via, row.last_used_agent)
    return ApiKeyRecord(
        key_id=row.id,
        user_id=row.user_id,
        name=row.name,
        masked=row.masked,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_use=last_use,
        project_id=row.project_id,
        restrictions=_restrictions(row),
        # No secret outlives its key.
        former_secret_ends_at=former_ends_at
        and min(end for end in (former_ends_at, row.expires_at, row.revoked_at) if end is not None),
        note=row.note,
    )


def _restrictions(row: Row[Any]) -> Restrictions:
    stored = {kind.wire: getattr(row, kind.name) for kind in KINDS}
    return UNRESTRICTED if not any(stored.values()) else restore_restrictions(stored)


_OWNER_ALONE = select(user.c.id).where(user.c.id == bindparam("owner")).with_for_update(key_share=True)
_NOW = bindparam("now", type_=api_key.c.expires_at.type)
_IS_LIVING = (
    api_key.c.user_id == bindparam("owner"),
    api_key.c.revoked_at.is_(None),
    or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > _NOW),
)
_HAS_ENDED = (
    api_key.c.user_id == bindparam("owner"),
    or_(api_key.c.revoked_at.is_not(None), api_key.c.expires_at <= _NOW),
)
_LIVING = select(func.count()).where(*_IS_LIVING)
_ENDED = select(func.count()).where(*_HAS_ENDED)
_LISTED_LIVING = select(*_LISTED).where(*_IS_LIVING).order_by(api_key.c.id.desc())
_LISTED_ENDED = select(*_LISTED).where(*_HAS_ENDED).order_by(api_key.c.id.desc())


def _owned_key(row: Any) -> OwnedKey:
    return OwnedKey(
        _record(row),
        row.userid,
        UserKind(row.kind),
        owner_is_disabled=row.disabled_at is not None,
        owner_name=row.owner_name,
    )
