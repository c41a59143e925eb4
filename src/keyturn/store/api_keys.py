"""API keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Row,
    Select,
    bindparam,
    case,
    delete,
    func,
    insert,
    null,
    or_,
    select,
    true,
    update,
)

from keyturn.core.people import UserKind
from keyturn.core.records import (
    ApiKeyRecord,
    AuditEntry,
    KeyForVerification,
    KeyUsage,
    LastUse,
    OwnedKey,
    Page,
)
from keyturn.core.times import read_time
from keyturn.errors import CredentialRefused, Reason
from keyturn.store.database import Database, refusing_twins, shortened
from keyturn.store.key_search import KeySearch, conditions_of
from keyturn.store.owners import OWNER_COLUMNS, owner_record, read_networks, read_words
from keyturn.store.questions import Question
from keyturn.store.rows import insert_on_conflict
from keyturn.store.schema import (
    api_key,
    api_key_use,
    as_stored,
    end_tokens,
    former_secret,
    profile,
    user,
)


@dataclass(frozen=True, slots=True)
class KeyToAdd:
    """A key about to be stored."""

    user_id: int
    digest: bytes = field(repr=False)
    masked: str
    name: str | None
    created_at: datetime
    expires_at: datetime | None
    idempotency_key: str | None = None
    """Given by the caller so that a retry finds the key that the first try made; one per user."""
    scopes: tuple[str, ...] | None = None
    """None for a key that may do whatever its owner may."""
    sources: tuple[str, ...] | None = None
    """The networks that the key may be used from; None for anywhere."""
    project_id: int | None = None
    """The project whose connections alone the key may see; None for no such bound."""
    jkt: str | None = None
    """The thumbprint of the key pair that alone may present the key; None for anybody."""


class ApiKeys:
    """Questions about API keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find_for_verification(self, digest: bytes) -> KeyForVerification | None:
        """Return the key with this digest, alive or not, with its owner; None if there never was one.

        A secret that was rotated away finds its key too, with `secret_ends_at`, until the next rotation.
        """
        return self._find_for_verification(_BY_DIGEST, digest=digest)

    def find_for_token(self, key_id: int) -> KeyForVerification | None:
        """Return the key that a token names, alive or not, with its owner."""
        return self._find_for_verification(_BY_ID, key_id=key_id)

    def _find_for_verification(self, question: Question, **parameters: Any) -> KeyForVerification | None:
        rows = self._database.ask(question, **parameters)
        if not rows:
            return None
        secret_ends_at, key_id, expires_at, revoked_at, scopes, sources, *more = rows[0]
        tokens_not_before, project_id, jkt, *owner = more
        return KeyForVerification(
            key_id=key_id,
            owner=owner_record(*owner),
            expires_at=read_time(expires_at),
            revoked_at=read_time(revoked_at),
            scopes=None if scopes is None else read_words(scopes),
            sources=None if sources is None else read_networks(sources),
            tokens_not_before=read_time(tokens_not_before),
            project_id=project_id,
            jkt=jkt,
            secret_ends_at=read_time(secret_ends_at),
        )

    def add(self, key: KeyToAdd, audit: AuditEntry) -> ApiKeyRecord:
        """Store a key; raise `Conflict` if its digest or its idempotency key is there already.

        Raise `CredentialRefused` if the key that it is made with was revoked meanwhile.
        """
        with refusing_twins("This key exists already."), self._database.change() as change:
            if audit.actor.key_id is not None:
                _check_maker_lives(change.connection, audit.actor.key_id, key.user_id)
            record = insert_key(change.connection, key)
            change.record(audit, target_id=record.key_id)
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
                    api_key.c.scopes.is_not_distinct_from(key.scopes),
                    api_key.c.sources.is_not_distinct_from(key.sources),
                    api_key.c.jkt.is_not_distinct_from(key.jkt),
                    api_key.c.revoked_at.is_(None),
                    or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > key.created_at),
                    not_later,
                )
                .values(
                    digest=key.digest,
                    masked=key.masked,
                    tokens_not_before=end_tokens(api_key.c.tokens_not_before, key.created_at),
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

    def list_of_user(self, user_id: int) -> list[ApiKeyRecord]:
        """Return all keys of a user, dead ones too, the newest first."""
        return [_record(row) for row in self._database.read(_OF_USER, user_id=user_id)]

    def search(self, wanted: KeySearch, *, now: datetime, offset: int, size: int) -> Page[OwnedKey]:
        """Return at most `size` of the keys that are looked for, the newest first, with their owners."""
        conditions = conditions_of(wanted, now)
        keys = api_key.join(user, user.c.id == api_key.c.user_id)
        with self._database.reading() as connection:
            count = connection.execute(select(func.count()).select_from(keys).where(*conditions)).scalar_one()
            rows = connection.execute(
                select(*_RECORD, user.c.userid, user.c.kind, user.c.disabled_at)
                .select_from(keys)
                .where(*conditions)
                .order_by(api_key.c.id.desc())
                .offset(offset)
                .limit(size)
            ).all()
        items = map(_owned_key, rows)
        return Page(count, tuple(items))

    def record_use(self, uses: Mapping[int, KeyUsage]) -> None:
        """Write when keys were last used, and add how often; an older use never overwrites a newer one."""
        if not uses:
            return
        rows = [_use_row(key_id, use) for key_id, use in sorted(uses.items())]
        with self._database.writing() as connection:
            # All of them: the statements below pass over a key whose last use is known to be newer.
            lock_keys(connection, api_key.c.id.in_(sorted(uses)))
            connection.execute(_LAST_USE, rows)
            connection.execute(_uses_of_hour(connection.dialect.name), rows)

    def count_uses(self, user_id: int, *, since_hour: int) -> dict[int, int]:
        """Return how often each of a user's keys was used since that hour; unused ones are left out."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(api_key_use.c.key_id, func.sum(api_key_use.c.uses))
                .join(api_key, api_key.c.id == api_key_use.c.key_id)
                .where(api_key.c.user_id == user_id, api_key_use.c.hour >= since_hour)
                .group_by(api_key_use.c.key_id)
            ).all()
        return {key_id: int(uses) for key_id, uses in rows}

    def forget_uses_before(self, hour: int) -> None:
        """Drop the counts of hours before this one, in whole hours since 1970."""
        with self._database.writing() as connection:
            connection.execute(delete(api_key_use).where(api_key_use.c.hour < hour))


def _for_verification(secret_ends_at: Any) -> Select[Any]:
    """Ask for a key with its owner; `secret_ends_at` is when the secret ends by which it is found."""
    columns = (
        secret_ends_at,
        api_key.c.id,
        as_stored(api_key.c.expires_at),
        as_stored(api_key.c.revoked_at),
        as_stored(api_key.c.scopes),
        as_stored(api_key.c.sources),
        as_stored(api_key.c.tokens_not_before),
        api_key.c.project_id,
        api_key.c.jkt,
        *OWNER_COLUMNS,
    )
    return (
        select(*columns)
        .select_from(api_key)
        .join(user, user.c.id == api_key.c.user_id)
        .join(profile, profile.c.user_id == user.c.id)
    )


_DIGEST: Any = bindparam("digest")


def _of_former_secret(column: Any) -> Any:
    return select(column).where(former_secret.c.digest == _DIGEST).scalar_subquery()


# What is found by its own secret is not looked for among the former ones: both databases stop at the first
# that is no null.
_BY_DIGEST = Question(
    _for_verification(
        case(
            (api_key.c.digest == _DIGEST, null()), else_=_of_former_secret(as_stored(former_secret.c.ends_at))
        )
    ).where(
        api_key.c.id
        == func.coalesce(
            select(api_key.c.id).where(api_key.c.digest == _DIGEST).scalar_subquery(),
            _of_former_secret(former_secret.c.key_id),
        )
    )
)
_BY_ID = Question(_for_verification(null()).where(api_key.c.id == bindparam("key_id")))

_RECORD = tuple(
    api_key.c[name]
    for name in (
        "id",
        "user_id",
        "name",
        "masked",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
        "last_used_address",
        "last_used_via",
        "last_used_agent",
        "project_id",
        "scopes",
        "sources",
        "jkt",
    )
)
_LISTED = (
    *_RECORD,
    select(former_secret.c.ends_at)
    .where(former_secret.c.key_id == api_key.c.id)
    .scalar_subquery()
    .label("former_secret_ends_at"),
)
"""What a list says of a key beyond its own row."""

_OF_USER = Question(
    select(*_LISTED).where(api_key.c.user_id == bindparam("user_id")).order_by(api_key.c.id.desc())
)


_ADD = insert(api_key).returning(*_RECORD)


def insert_key(connection: Connection, key: KeyToAdd) -> ApiKeyRecord:
    """Store a key within the change that makes it."""
    values = {name: getattr(key, name) for name in KeyToAdd.__slots__}
    return _record(connection.execute(_ADD, values).one())


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
        scopes=None if row.scopes is None else frozenset(row.scopes),
        sources=None if row.sources is None else tuple(row.sources),
        jkt=row.jkt,
        former_secret_ends_at=getattr(row, "former_secret_ends_at", None),
    )


_LIVING_MAKER = (
    select(api_key.c.id)
    .where(api_key.c.id == bindparam("maker"), api_key.c.revoked_at.is_(None))
    .with_for_update(read=True)
)


_OWNER = select(user.c.id).where(user.c.id == bindparam("owner")).with_for_update(read=True, key_share=True)


def _check_maker_lives(connection: Connection, key_id: int, user_id: int) -> None:
    # What ends an account begins with its row, then ends its keys: the same order here.
    connection.execute(_OWNER, {"owner": user_id})
    if connection.execute(_LIVING_MAKER, {"maker": key_id}).first() is None:
        raise CredentialRefused(Reason.REVOKED, key_id=key_id, secret_matched=True)


def _owned_key(row: Any) -> OwnedKey:
    return OwnedKey(
        _record(row), row.userid, UserKind(row.kind), owner_is_disabled=row.disabled_at is not None
    )


def _use_row(key_id: int, use: KeyUsage) -> dict[str, Any]:
    return {
        "used_key": key_id,
        "used_at": use.last.at,
        "used_from": shortened(use.last.address, 64),
        "used_via": shortened(use.last.via, 255),
        "used_by": shortened(use.last.agent, 255),
        "used_hour": int(use.last.at.timestamp()) // 3600,
        "used_times": use.uses,
    }


_LAST_USE = (
    update(api_key)
    .where(
        api_key.c.id == bindparam("used_key"),
        or_(api_key.c.last_used_at.is_(None), api_key.c.last_used_at < bindparam("used_at")),
    )
    .values(
        last_used_at=bindparam("used_at"),
        last_used_address=bindparam("used_from"),
        last_used_via=bindparam("used_via"),
        last_used_agent=bindparam("used_by"),
    )
)


def _uses_of_hour(dialect: str) -> Any:
    """Build the statement that adds uses to those of an hour, of keys that are there still."""
    statement = insert_on_conflict(api_key_use, dialect).from_select(
        ["key_id", "hour", "uses"],
        select(
            api_key.c.id, bindparam("used_hour", type_=BigInteger), bindparam("used_times", type_=BigInteger)
        ).where(api_key.c.id == bindparam("used_key")),
    )
    return statement.on_conflict_do_update(
        index_elements=["key_id", "hour"], set_={"uses": api_key_use.c.uses + statement.excluded.uses}
    )
