"""The tables.

Times are whole milliseconds since 1970 in UTC, sets and maps are JSON text, digests are bytes: the same
on SQLite and PostgreSQL, so that one suite can hold both to one behaviour.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    literal_column,
    text,
    type_coerce,
)

from keyturn.core.restriction_kinds import KINDS
from keyturn.core.times import in_milliseconds, read_time


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC, stored as milliseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002 - the base class's signature
        """Write the time, rounded down to its millisecond."""
        return None if value is None else in_milliseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the base class's signature
        """Read the time."""
        return read_time(value)


def as_stored(column: Column[Any]) -> ColumnElement[Any]:
    """Select a column as the driver gives it, for a `CompiledQuery`."""
    kind = column.type
    return type_coerce(column, kind.impl) if isinstance(kind, TypeDecorator) else column


class Json(TypeDecorator[Any]):
    """A JSON value, stored as text with sorted names, so that equal values are equal text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002 - the base class's signature
        """Write the value; None is SQL's NULL."""
        return None if value is None else msgspec.json.encode(value, order="sorted").decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002 - the base class's signature
        """Read the value."""
        return None if value is None else msgspec.json.decode(value)


# An SQLite INTEGER PRIMARY KEY holds 64 bits; a BIGINT one would not be filled in by it.
_Id = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

installation = Table(
    "installation",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="single"), primary_key=True),
    Column("root_key_check", LargeBinary, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("setup_code_digest", LargeBinary),
    Column("setup_completed_at", UtcTime),
    Column("announced", Json),
    Column("created_at", UtcTime, nullable=False),
)
"""One row. `revision` grows by one with every change, in the same transaction.

`announced` holds what a verifier in another process must know of the server's settings.
"""

user = Table(
    "user_account",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("iamid", String(64), nullable=False),
    Column("userid", String(254), nullable=False),
    Column("canonical_userid", String(254), nullable=False),
    Column("skeleton", String(64)),
    Column("kind", String(16), nullable=False, server_default="person"),
    Column("permissions", Json, nullable=False),
    Column("password_hash", String(255)),
    Column("password_changed_at", UtcTime),
    Column("password_number", BigInteger, nullable=False, server_default="0"),
    Column("failed_logins", Integer, nullable=False, default=0),
    Column("locked_until", UtcTime),
    Column("disabled_at", UtcTime),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("last_login_at", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    UniqueConstraint("iamid", "canonical_userid"),
    sqlite_autoincrement=True,
)
"""`canonical_userid` is the user name folded, so that `Bob` and ` bob` are one account (L4).

`epoch` grows with every change that ends all tokens of the user: a token carries the one that it was made in.
`password_number` grows with every new password.
"""

profile = Table(
    "profile",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("user_id", _Id, ForeignKey("user_account.id", ondelete="CASCADE"), nullable=False, unique=True),
    *(
        Column(name, Text)
        for name in ("name", "email", "phone", "about", "location", "organization", "position")
    ),
    Column("preferences", Json),
    Column("external_user_ids", Json, nullable=False),
    Column("searched", Text, nullable=False, server_default=text("''")),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("time_zone", String(64)),
    sqlite_autoincrement=True,
)
"""`searched` is what a person is found and ordered by: `core.folding.searched_text`."""

user_attribute = Table(
    "user_attribute",
    metadata,
    Column("user_id", _Id, ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(254), primary_key=True),
    Column("value", String(254), primary_key=True),
)

invitation = Table(
    "invitation",
    metadata,
    Column("user_id", _Id, ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("expires_at", UtcTime, nullable=False),
    Column("maker_user_id", BigInteger),
    Column("maker_key_id", BigInteger),
    Column("maker_epoch", BigInteger),
    Column("maker_password_number", BigInteger),
)
"""The link with which a person sets a password, once; a new one takes the place of the old one.

`maker_…` says who made it, as they were then; all null for the command line. `maker_epoch` is the sum of the
epochs of user and key. No foreign keys: a maker who is gone must not become none.
"""

group = Table(
    "user_group",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("iamid", String(64), nullable=False),
    Column("name", String(254), nullable=False),
    Column("email", String(254)),
    Column("description", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    UniqueConstraint("iamid", "name"),
    sqlite_autoincrement=True,
)

group_attribute = Table(
    "group_attribute",
    metadata,
    Column("group_id", _Id, ForeignKey("user_group.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(254), primary_key=True),
    Column("value", String(254), primary_key=True),
)

group_member = Table(
    "group_member",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("group_id", _Id, ForeignKey("user_group.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", _Id, ForeignKey("user_account.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    UniqueConstraint("group_id", "user_id"),
    sqlite_autoincrement=True,
)

service_account = Table(
    "service_account",
    metadata,
    Column("user_id", _Id, ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True),
    Column("owner_user_id", _Id, ForeignKey("user_account.id")),
    Column("owner_group_id", _Id, ForeignKey("user_group.id")),
    Column("disabled_with_owner", Boolean, nullable=False),
    CheckConstraint("(owner_user_id IS NULL) <> (owner_group_id IS NULL)", name="one_owner"),
)
"""No cascade from the owners: what they own is handed over or ended, each with a row in the audit log."""

project = Table(
    "project",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(254), nullable=False),
    Column("description", Text),
    Column("created_by", _Id, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    sqlite_autoincrement=True,
)

project_member = Table(
    "project_member",
    metadata,
    Column("project_id", _Id, ForeignKey("project.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", _Id, ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True),
    Column("is_owner", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("user_id", _Id, ForeignKey("user_account.id", ondelete="CASCADE"), nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("name", String(254)),
    Column("note", String(254)),
    Column("masked", String(160), nullable=False),
    Column("scopes", Json),
    Column("sources", Json, key="networks"),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("secret_number", BigInteger, nullable=False, server_default="0"),
    Column("project_id", BigInteger),
    Column("jkt", String(64)),
    Column("methods", Json),
    Column("paths", Json),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("revoked_at", UtcTime),
    Column("idempotency_key", String(255)),
    Column("last_used_at", UtcTime),
    Column("last_used_address", String(64)),
    Column("last_used_via", String(255)),
    Column("last_used_agent", String(255)),
    UniqueConstraint("user_id", "idempotency_key"),
    sqlite_autoincrement=True,
)
"""`sqlite_autoincrement`: an id in a token must never come to mean another key.

`sources`, which the code calls `networks`, are those that the key may be used from (RFC 4632); null for
anywhere. `project_id` is no foreign key: a key of a project that is gone must see nothing, and not become one
of no project. `jkt` is the thumbprint of the key pair that alone may present the key (RFC 9449). `methods`
and `paths` are those of the requests that it may be used for; null for any. `epoch` is as a user's.
`secret_number` grows with every new secret: a token carries that of the secret which it was made with.
"""

RESTRICTION_COLUMNS = tuple(api_key.c[kind.name] for kind in KINDS)
"""The restrictions of a key, in the order of the kinds."""

former_secret = Table(
    "former_secret",
    metadata,
    Column("key_id", _Id, ForeignKey("api_key.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("replaced_at", UtcTime, nullable=False),
    Column("ends_at", UtcTime, nullable=False),
    Column("idempotency_key", String(64)),
    Column("secret_number", BigInteger, nullable=False, server_default="0"),
)
"""The secret that a key had before its last rotation, which works until `ends_at`. A key has one at most.

`secret_number` is the one that the key had then: where the answer with the next secret was lost, that one's
number lies in between.
"""

past_rotation = Table(
    "past_rotation",
    metadata,
    Column("key_id", _Id, ForeignKey("api_key.id", ondelete="CASCADE"), primary_key=True),
    Column("idempotency_key", String(64), primary_key=True),
    Column("at", UtcTime, nullable=False),
)
"""Rotations that were asked for with an idempotency key. They are kept for long: a clock may be wrong."""

device_login = Table(
    "device_login",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("user_code_digest", LargeBinary, nullable=False, unique=True),
    Column("client_id", String(64), nullable=False),
    Column("scopes", Json),
    Column("address", String(64)),
    Column("network", String(64)),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("is_denied", Boolean, nullable=False),
    Column("session_id", _Id, ForeignKey("session.id", ondelete="CASCADE")),
    Column("key_expires_at", UtcTime),
)
"""Devices that wait to be signed in (RFC 8628). `session_id` is the one in which a person approved.

`network` is what those share who share the places that there are.
"""

system_key = Table(
    "system_key",
    metadata,
    Column("name", String(254), primary_key=True),
    Column("key_id", _Id, ForeignKey("api_key.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("connection_key", String(255), nullable=False),
    Column("scopes", Json, nullable=False),
    Column("sealed_secret", LargeBinary, nullable=False),
)
"""Keys that the contract wants back: their secrets are encrypted under the root key, never in clear."""

api_key_use = Table(
    "api_key_use",
    metadata,
    Column("key_id", _Id, ForeignKey("api_key.id", ondelete="CASCADE"), primary_key=True),
    Column("hour", BigInteger, primary_key=True),
    Column("uses", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False, server_default="0"),
)
"""How often a key was used in an hour, and how often refused though its secret was right.

`hour` counts whole hours since 1970.
"""

api_key_caller = Table(
    "api_key_caller",
    metadata,
    Column("key_id", _Id, ForeignKey("api_key.id", ondelete="CASCADE"), primary_key=True),
    Column("address", String(64), primary_key=True),
    Column("agent", String(255), primary_key=True),
    Column("via", String(255)),
    Column("uses", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("reason", String(32)),
    Column("first_at", UtcTime, nullable=False),
    Column("last_at", UtcTime, nullable=False),
)
"""From where and with which program a key was presented: of each key those that were seen last.

An address or agent that is not known is the empty text, since a primary key has no nulls.
"""

revoked_token = Table(
    "revoked_token",
    metadata,
    Column("jti", String(64), primary_key=True),
    Column("expires_at", UtcTime, nullable=False),
    Column("kid", String(64)),
)
"""Tokens that were revoked by themselves (RFC 7009), until no clock can let them live again.

That is when the signing key `kid` is gone for good; null for a token that an older program revoked.
"""

session = Table(
    "session",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("user_id", _Id, ForeignKey("user_account.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("last_seen_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("address", String(64)),
    Column("user_agent", String(255)),
    Column("secret_number", BigInteger, nullable=False, server_default="0"),
    Column("proved_at", UtcTime),
    Column("impersonator_id", _Id),
    sqlite_autoincrement=True,
)
"""No foreign key to the impersonator: SQLite would copy the table to add it. Their token ends with their key.
"""

connection = Table(
    "connection",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("connection_key", String(255), nullable=False, unique=True),
    Column("details", Json, nullable=False),
    Column("sealed_secrets", LargeBinary),
    Column("native_integration_id", _Id),
    Column("native_integration", Json),
    Column("state", String(16), nullable=False, server_default="ACTIVE"),
    Column("state_reason", Text),
    Column("generation", Integer, nullable=False, server_default="0"),
    Column("crawl_number", Integer, nullable=False, server_default="0"),
    Column("crawled_at", UtcTime),
    Column("crawl_every_hours", Integer),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", _Id, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("updated_by", _Id, nullable=False),
    sqlite_autoincrement=True,
)
"""No foreign keys to people: who registered it stays written when they are gone.

`generation` is the crawl whose objects are shown, `crawl_number` the last that began.
"""

data_object = Table(
    "data_object",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("connection_id", _Id, ForeignKey("connection.id", ondelete="CASCADE"), nullable=False),
    Column("path_digest", LargeBinary, nullable=False),
    Column("parent_digest", LargeBinary, nullable=False),
    Column("path", Json, nullable=False),
    Column("searched", String(255), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("comment", Text),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("column_count", Integer, nullable=False),
    Column("first", Integer, nullable=False),
    Column("since", Integer, nullable=False),
    Column("until", Integer, nullable=False),
    UniqueConstraint("connection_id", "path_digest", "since"),
    sqlite_autoincrement=True,
)
"""A version of an object: what the crawls from `since` to the one before `until` found there.

A row never changes but for `until`, and a connection shows those of its `generation`: a crawl that does not
come to its end is never seen. `searched` is the name folded. Settings belong to the path, not to a version.
"""

data_object_columns = Table(
    "data_object_columns",
    metadata,
    Column("object_id", _Id, ForeignKey("data_object.id", ondelete="CASCADE"), primary_key=True),
    Column("columns", Json, nullable=False),
)
"""The columns of a table. Apart from it, so that a search reads small rows."""

object_settings = Table(
    "object_settings",
    metadata,
    Column("connection_id", _Id, ForeignKey("connection.id", ondelete="CASCADE"), primary_key=True),
    Column("path_digest", LargeBinary, primary_key=True),
    Column("path", Json, nullable=False),
    Column("is_active", Boolean),
    Column("activates_new_children", Boolean),
    Column("later_than", Integer, nullable=False),
    Column("overridden_roles", Json, nullable=False),
)

object_role = Table(
    "object_role",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("connection_id", _Id, ForeignKey("connection.id", ondelete="CASCADE"), nullable=False),
    Column("path_digest", LargeBinary, nullable=False),
    Column("role", String(32), nullable=False),
    Column("user_id", _Id, ForeignKey("user_account.id", ondelete="CASCADE")),
    Column("group_id", _Id, ForeignKey("user_group.id", ondelete="CASCADE")),
    CheckConstraint("(user_id IS NULL) <> (group_id IS NULL)", name="one_holder"),
    sqlite_autoincrement=True,
)

job = Table(
    "job",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("type", String(16), nullable=False),
    Column("connection_id", _Id, nullable=False),
    Column("connection_key", String(255), nullable=False),
    Column("path", Json, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", _Id),
    Column("started_at", UtcTime),
    Column("seen_at", UtcTime),
    Column("ended_at", UtcTime),
    Column("done", Integer, nullable=False),
    Column("expected", Integer),
    Column("is_cancel_asked", Boolean, nullable=False),
    Column("output", Json, nullable=False),
    Column("occupied_id", _Id, unique=True),
)
"""`occupied_id` is that of the connection while the job is unfinished: no two work on one."""

project_connection = Table(
    "project_connection",
    metadata,
    Column("project_id", _Id, ForeignKey("project.id", ondelete="CASCADE"), primary_key=True),
    Column("connection_id", _Id, ForeignKey("connection.id", ondelete="CASCADE"), primary_key=True),
)

resource = Table(
    "resource",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(254), nullable=False, unique=True),
    Column("identifier", String(255), nullable=False, unique=True),
    Column("description", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    sqlite_autoincrement=True,
)
"""The registered APIs. `identifier` is what tokens for one say as `aud` (RFC 8707, section 2)."""

resource_scope = Table(
    "resource_scope",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("resource_id", _Id, ForeignKey("resource.id", ondelete="SET NULL")),
    Column("description", Text),
    Column("is_for_everyone", Boolean, nullable=False),
)
"""A scope is of one API: so that what a key or token says of scopes means one thing everywhere.

One that is of none was taken away from its API, or its API is gone: nobody may hold it until it is registered
again. Keys and gateways that still name it must not take it for a scope that everybody covers.
"""

resource_scope_group = Table(
    "resource_scope_group",
    metadata,
    Column("scope", String(128), ForeignKey("resource_scope.name", ondelete="CASCADE"), primary_key=True),
    Column("group_id", _Id, ForeignKey("user_group.id", ondelete="CASCADE"), primary_key=True),
)
"""The groups whose members may hold a scope that is not for everyone."""

signing_key = Table(
    "signing_key",
    metadata,
    Column("kid", String(64), primary_key=True),
    Column("algorithm", String(16), nullable=False),
    Column("sealed_jwk", LargeBinary),
    Column("public_jwk", Json),
    Column("created_at", UtcTime, nullable=False),
    Column("signs_from", UtcTime, nullable=False),
    Column("verifies_until", UtcTime),
)

failed_sign_in = Table(
    "failed_sign_in",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("network", String(64), primary_key=True),
    Column("target_id", String(32), primary_key=True),
    Column("failures", BigInteger, nullable=False),
    Column("first_at", UtcTime, nullable=False),
    Column("last_at", UtcTime, nullable=False),
    Column("address", String(64)),
    Column("user_agent", String(255)),
    Column("request_id", String(36)),
)
"""Failed sign-ins that strangers can cause without end: `target_id` is a user or "unknown".

`day` counts from 1970.
"""

audit = Table(
    "audit",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("event_id", String(36), nullable=False, unique=True),
    Column("revision", BigInteger, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("action", String(64), nullable=False),
    Column("succeeded", Boolean, nullable=False),
    Column("actor_user_id", _Id),
    Column("actor_userid", String(254), nullable=False),
    Column("actor_key_id", _Id),
    Column("target_type", String(32), nullable=False),
    Column("target_id", String(255)),
    Column("address", String(64)),
    Column("user_agent", String(255)),
    Column("request_id", String(36)),
    Column("details", Json, nullable=False),
    sqlite_autoincrement=True,
)
"""No foreign keys: what happened stays written when the user is gone.

One row per revision: read in order, this is also the list of what to forget (`AuditLog.changes_since`). The
oldest may be in an archive instead: those that are here have no gap, and the newest is here.
"""

schema_step = Table(
    "schema_step",
    metadata,
    Column("revision", String(32), primary_key=True),
    Column("needs", String(32)),
)
"""The steps that the schema took. `needs` is the oldest schema whose servers go on; NULL for all."""

Index("ix_api_key_user_id", api_key.c.user_id)
Index("ix_api_key_project_id", api_key.c.project_id)
Index("ix_group_member_user_id", group_member.c.user_id)
Index("ix_resource_scope_resource_id", resource_scope.c.resource_id)
Index("ix_resource_scope_group_group_id", resource_scope_group.c.group_id)
Index("ix_project_member_user_id", project_member.c.user_id)
Index("ix_project_connection_connection_id", project_connection.c.connection_id)
Index("ix_service_account_owner_user_id", service_account.c.owner_user_id)
Index("ix_service_account_owner_group_id", service_account.c.owner_group_id)
Index("ix_user_account_skeleton", user.c.skeleton)
Index("ix_audit_target", audit.c.target_type, audit.c.target_id)
Index("ix_revoked_token_kid", revoked_token.c.kid)
Index("ix_session_user_id", session.c.user_id)
Index("ix_device_login_expires_at", device_login.c.expires_at)
Index("ix_device_login_network", device_login.c.network, device_login.c.expires_at)
Index("ix_failed_sign_in_last_at", failed_sign_in.c.last_at)
# Of the few callers that asked for a connection: most ask for something else, and cost nothing here.
OF_CONNECTIONS = api_key_caller.c.via.like(literal_column("'% /data/connection/%'"))
Index(
    "ix_api_key_caller_connection",
    api_key_caller.c.via,
    sqlite_where=OF_CONNECTIONS,
    postgresql_where=OF_CONNECTIONS,
)
Index("ix_audit_at", audit.c.at)
Index("ix_audit_actor_user_id", audit.c.actor_user_id)
Index("ix_audit_revision", audit.c.revision, unique=True)
# All that decides whether a version is on a page, and its place there: the rows stay unread.
_SHOWN_BY_NAME = (data_object.c.searched, data_object.c.id, data_object.c.since, data_object.c.until)
Index(
    "ix_data_object_children",
    data_object.c.connection_id,
    data_object.c.parent_digest,
    *_SHOWN_BY_NAME,
)
Index("ix_data_object_searched", data_object.c.connection_id, *_SHOWN_BY_NAME)
Index("ix_object_role_place", object_role.c.connection_id, object_role.c.path_digest)
Index("ix_object_role_user_id", object_role.c.user_id)
Index("ix_object_role_group_id", object_role.c.group_id)
Index("ix_job_created_at", job.c.created_at)


def as_json_list(names: Iterable[str]) -> list[str]:
    """Return a set of names in the one order in which it is stored."""
    return sorted(names)
