"""Users: their accounts, profiles, permissions and attributes."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update

from keyturn.core.attributes import AttributeChange
from keyturn.core.audit import AuditEntry
from keyturn.core.folding import searched_text
from keyturn.core.pages import Page
from keyturn.core.people import ServiceOwner, StateRule, UserKind, UserRecord
from keyturn.core.permissions import ADMINISTRATION
from keyturn.core.searches import UserCounts, UserSearch
from keyturn.core.user_names import look_alike, skeletons_to_ask_for
from keyturn.errors import Conflict
from keyturn.store.database.rows import changed_values
from keyturn.store.database.schema import (
    as_json_list,
    installation,
    invitation,
    profile,
    service_account,
    user,
)
from keyturn.store.database.statements import CompiledQuery
from keyturn.store.database.transactions import Database, refusing_twins
from keyturn.store.ownership.control import (
    Allow,
    Successor,
    check_may_act_as,
    owned_by,
    owning,
    void_links_to,
)
from keyturn.store.people.attributes import OF_USERS, change_attributes
from keyturn.store.people.rows import (
    SELECT_USER,
    USER_BY_ID,
    USER_BY_NAME,
    USER_BY_PROFILE,
    ask_users,
    read_users,
)
from keyturn.store.people.search import conditions_of, has_permission, order_of, state_by, visibility_of
from keyturn.store.people.service_accounts import (
    check_own_owner_lives,
    check_owner_lives,
    delete_user,
    disable_owned,
    enable_owned,
    end_owned,
    lock_owners,
    mark_disabled_with_owner,
    transfer_owned,
)
from keyturn.store.people.sessions import end_sessions


@dataclass(frozen=True, slots=True)
class UserName:
    """A user name about to be stored."""

    userid: str
    canonical: str
    """The folded user name: one per identity provider."""
    skeleton: str
    """The form that all names share that look like this one."""


@dataclass(frozen=True, slots=True)
class UserToAdd:
    """A user about to be stored."""

    iamid: str
    user_name: UserName
    permissions: frozenset[str]
    name: str | None
    email: str | None
    password_hash: str | None = field(repr=False)
    created_at: datetime
    kind: UserKind = UserKind.PERSON
    owner: ServiceOwner | None = None
    """Of a service account."""


class Users:
    """Questions about users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, new: UserToAdd, audit: AuditEntry) -> UserRecord:
        """Store a user; raise `Conflict` if the user name is taken.

        The first person closes the set-up page for ever.
        """
        with (
            _refusing_name(new.user_name),
            self._database.change() as change,
        ):
            user_id = _insert_user(change.connection, new)
            if new.kind is UserKind.PERSON:
                change.connection.execute(
                    update(installation)
                    .where(installation.c.setup_completed_at.is_(None))
                    .values(setup_completed_at=new.created_at, setup_code_digest=None)
                )
            change.record(audit, target_id=user_id)
            _check_looks(change.connection, new.iamid, new.user_name)
            (record,) = read_users(change.connection, SELECT_USER.where(user.c.id == user_id))
        return record

    def add_first(self, new: UserToAdd, setup_code_digest: bytes, audit: AuditEntry) -> UserRecord | None:
        """Store the first user if the code is the one that was printed; None if not, or no longer.

        The code is used up by the same statement that checks it: of two at once, one wins (R10).
        """
        with self._database.change() as change:
            consumed = change.connection.execute(
                update(installation)
                .where(
                    installation.c.setup_completed_at.is_(None),
                    installation.c.setup_code_digest == setup_code_digest,
                )
                .values(setup_completed_at=new.created_at, setup_code_digest=None)
            ).rowcount
            if not consumed:
                return None
            user_id = _insert_user(change.connection, new)
            change.record(audit, target_id=user_id)
            _check_looks(change.connection, new.iamid, new.user_name)
            (record,) = read_users(change.connection, SELECT_USER.where(user.c.id == user_id))
        return record

    def find_by_name(
        self, iamid: str, canonical_userid: str, *, visible_to: int | None = None
    ) -> UserRecord | None:
        """Return the user with this folded name; with `visible_to`, only if that user may see them."""
        if visible_to is None:
            found = ask_users(self._database, USER_BY_NAME, iamid=iamid, name=canonical_userid)
        else:
            found = ask_users(
                self._database, _VISIBLE_BY_NAME, iamid=iamid, name=canonical_userid, viewer=visible_to
            )
        return found[0] if found else None

    def find_by_id(self, user_id: int, *, visible_to: int | None = None) -> UserRecord | None:
        """Return the user with this numeric id; with `visible_to`, only if that user may see them."""
        if visible_to is None:
            found = ask_users(self._database, USER_BY_ID, user_id=user_id)
        else:
            found = ask_users(self._database, _VISIBLE_BY_ID, user_id=user_id, viewer=visible_to)
        return found[0] if found else None

    def find_by_profile(self, profile_id: int) -> UserRecord | None:
        """Return the user whose profile has this id."""
        found = ask_users(self._database, USER_BY_PROFILE, profile_id=profile_id)
        return found[0] if found else None

    def search(self, wanted: UserSearch, *, offset: int = 0, size: int) -> Page[UserRecord]:
        """Return at most `size` of those who are looked for, in their order."""
        conditions = conditions_of(wanted)
        with self._database.reading() as connection:
            count = connection.execute(
                select(func.count())
                .select_from(user.join(profile, profile.c.user_id == user.c.id))
                .where(*conditions)
            ).scalar_one()
            query = SELECT_USER.where(*conditions).order_by(*order_of(wanted)).offset(offset).limit(size)
            found = read_users(connection, query)
        return Page(count, tuple(found))

    def count_states(self, wanted: UserSearch, rule: StateRule) -> UserCounts:
        """Return how many of those who are looked for are in each state."""
        states = (
            select(state_by(rule).label("state"))
            .select_from(user.join(profile, profile.c.user_id == user.c.id))
            .where(*conditions_of(wanted))
            .subquery()
        )
        query = select(states.c.state, func.count().label("number")).group_by(states.c.state)
        with self._database.reading() as connection:
            return UserCounts(**{row.state: row.number for row in connection.execute(query)})

    def change_permissions(
        self,
        user_id: int,
        change_to: Callable[[frozenset[str]], frozenset[str]],
        at: datetime,
        audit: AuditEntry,
    ) -> bool:
        """Give a user the permissions that `change_to` makes of theirs; False if there is no such user.

        Nothing is written if that changes nothing. An error of `change_to` undoes it. Raise `Conflict` if
        nobody would be left to administer (A5).
        """
        with self._database.change() as change:
            # Changes of one user queue here: what is decided is still so when it is written.
            lock_owners(change.connection, ServiceOwner(user_id))
            held = change.connection.execute(
                select(user.c.permissions).where(user.c.id == user_id)
            ).scalar_one_or_none()
            if held is None:
                return False
            before = frozenset(held)
            after = change_to(before)
            if after == before:
                return True
            change.connection.execute(
                update(user)
                .where(user.c.id == user_id)
                .values(permissions=as_json_list(after), updated_at=at)
            )
            if after - before:
                void_links_to(change.connection, user.c.id == user_id)
            details = {"added": sorted(after - before), "removed": sorted(before - after)}
            change.record(replace(audit, details=details))
            _check_administered(change.connection, lost=before - after)
        return True

    def set_disabled(
        self,
        user_id: int,
        disabled_at: datetime | None,
        at: datetime,
        audit: AuditEntry,
        *,
        successor: Successor | None = None,
    ) -> bool:
        """Disable a user, ending their sessions, or enable them with None; False if they already are so.

        Their service accounts are transferred to `successor`, or are disabled and enabled with them. One that
        is disabled with its owner can be disabled by itself besides, and then stays so. Raise `Conflict` if
        nobody would be left to administer (A5), and for enabling one whose owner is disabled.
        """
        with_owner = select(service_account.c.user_id).where(service_account.c.disabled_with_owner)
        was = (
            user.c.disabled_at.is_not(None)
            if disabled_at is None
            else or_(user.c.disabled_at.is_(None), user.c.id.in_(with_owner))
        )
        with self._database.change() as change:
            lock_owners(
                change.connection, ServiceOwner(user_id), None if successor is None else successor.owner
            )
            permissions = change.connection.execute(
                update(user)
                .where(user.c.id == user_id, was)
                .values(disabled_at=disabled_at, epoch=user.c.epoch + 1, updated_at=at)
                .returning(user.c.permissions)
            ).scalar_one_or_none()
            if permissions is None:
                return False
            owner = ServiceOwner(user_id)
            mark_disabled_with_owner(change.connection, user_id, is_so=False)
            if disabled_at is None:
                check_own_owner_lives(change.connection, user_id)
                entries = enable_owned(change.connection, owner, at, audit)
            else:
                # What was given out before must not work again when the account does.
                change.connection.execute(end_sessions(user_id, at))
                change.connection.execute(delete(invitation).where(invitation.c.user_id == user_id))
                if successor is not None:
                    entries = transfer_owned(change.connection, owned_by(owner), successor, at, audit)
                else:
                    entries = disable_owned(change.connection, owner, at, audit)
            for entry in (audit, *entries):
                change.record(entry)
            if disabled_at is not None:
                _check_administered(change.connection, lost=permissions)
        return True

    def delete(
        self, user_id: int, at: datetime, audit: AuditEntry, *, successor: Successor | None = None
    ) -> bool:
        """Delete a user with their keys and sessions for ever; False if there is no such user.

        Their service accounts are transferred to `successor`, or deleted with them. Raise `Conflict` if
        nobody would be left to administer (A5).
        """
        with self._database.change() as change:
            # Nobody makes them the owner of anything meanwhile.
            lock_owners(
                change.connection, ServiceOwner(user_id), None if successor is None else successor.owner
            )
            found = change.connection.execute(
                select(user.c.permissions, user.c.disabled_at).where(user.c.id == user_id)
            ).one_or_none()
            if found is None:
                return False
            entries = end_owned(change.connection, ServiceOwner(user_id), successor, at, audit)
            audit = delete_user(change.connection, user_id, audit)
            for entry in (audit, *entries):
                change.record(entry)
            if found.disabled_at is None:
                _check_administered(change.connection, lost=found.permissions)
        return True

    def sign_out(self, user_id: int, at: datetime, audit: AuditEntry, *, allow: Allow | None = None) -> None:
        """End all sessions of a user and all tokens that were issued until now; keys stay.

        `allow` is asked about the permissions that come with the account.
        """
        with self._database.change() as change:
            change.connection.execute(
                update(user).where(user.c.id == user_id).values(epoch=user.c.epoch + 1, updated_at=at)
            )
            change.connection.execute(end_sessions(user_id, at))
            change.record(audit)
            if allow is not None:
                check_may_act_as(change.connection, user_id, allow)

    def update_profile(
        self, user_id: int, fields: Mapping[str, Any], at: datetime, audit: AuditEntry
    ) -> None:
        """Change what is said of a person; nothing is written where that is said already."""
        with self._database.change(audit) as change:
            changed = changed_values(change.connection, profile, fields, user_id=user_id)
            if not changed:
                return
            said = change.connection.execute(_FOUND_BY.where(user.c.id == user_id)).one()._asdict() | changed
            searched = searched_text(said["userid"], said["name"], said["email"])
            change.connection.execute(
                update(profile)
                .where(profile.c.user_id == user_id)
                .values({**changed, "searched": searched, "updated_at": at})
            )
            _touch(change.connection, user_id, at)
            change.record(replace(audit, details={**audit.details, "fields": sorted(changed)}))

    def rename(
        self, user_id: int, name: UserName, at: datetime, audit: AuditEntry, *, allow: Allow | None = None
    ) -> None:
        """Give a user another user name; nothing is written if it is theirs already.

        Raise `Conflict` if somebody else has it, or one that looks like it. `allow` is asked about the
        permissions that come with the account.
        """
        values = {"userid": name.userid, "canonical_userid": name.canonical, "skeleton": name.skeleton}
        with _refusing_name(name), self._database.change(audit) as change:
            if not changed_values(change.connection, user, values, id=user_id):
                return
            was = change.connection.execute(_FOUND_BY.where(user.c.id == user_id)).one()
            change.connection.execute(
                update(user).where(user.c.id == user_id).values(**values, updated_at=at)
            )
            change.connection.execute(
                update(profile)
                .where(profile.c.user_id == user_id)
                .values(searched=searched_text(name.userid, was.name, was.email))
            )
            change.record(replace(audit, details={**audit.details, "userid": name.userid, "was": was.userid}))
            _check_looks(change.connection, was.iamid, name)
            if allow is not None:
                check_may_act_as(change.connection, user_id, allow)

    def change_attributes(
        self, user_id: int, change_to: AttributeChange, at: datetime, audit: AuditEntry
    ) -> bool:
        """Change the attributes of a user, as `attributes.change_attributes` does."""
        return change_attributes(self._database, OF_USERS, user_id, change_to, at, audit)


_FOUND_BY = select(user.c.userid, user.c.iamid, profile.c.name, profile.c.email).join(
    profile, profile.c.user_id == user.c.id
)
_VISIBLE = visibility_of(bindparam("viewer"))
_VISIBLE_BY_ID = CompiledQuery(USER_BY_ID.select.where(*_VISIBLE))
_VISIBLE_BY_NAME = CompiledQuery(USER_BY_NAME.select.where(*_VISIBLE))


def _check_administered(connection: Connection, *, lost: Collection[str]) -> None:
    """Raise `Conflict` unless a living person holds each permission of `ADMINISTRATION` that was `lost`.

    To be called after the audit row: from there on no other change runs beside this one, so of two that
    each take away the last but one, the later sees the earlier.
    """
    for permission in ADMINISTRATION:
        if permission not in lost:
            continue
        is_left = connection.execute(
            select(user.c.id)
            .where(
                has_permission(permission),
                user.c.disabled_at.is_(None),
                user.c.kind == UserKind.PERSON.value,
                user.c.password_hash.is_not(None),
            )
            .limit(1)
        ).first()
        if is_left is None:
            raise Conflict(
                f"This is the last person with {permission.value}: give it to somebody else first."
            )


def _refusing_name(name: UserName) -> AbstractContextManager[None]:
    return refusing_twins(f"There is a user {name.userid} already.")


def _check_looks(connection: Connection, iamid: str, new: UserName) -> None:
    """Raise `Conflict` if a name looks like another one. To be called after the audit row too."""
    names = connection.execute(
        select(user.c.userid).where(
            user.c.iamid == iamid,
            user.c.canonical_userid != new.canonical,
            user.c.skeleton.in_(skeletons_to_ask_for(new.userid)),
        )
    ).scalars()
    if any(look_alike(new.userid, name) for name in names):
        raise Conflict("There is a user whose name looks the same: choose another one.")


def _touch(connection: Connection, user_id: int, at: datetime) -> None:
    connection.execute(update(user).where(user.c.id == user_id).values(updated_at=at))


def _insert_user(connection: Connection, new: UserToAdd) -> int:
    user_id: int = connection.execute(
        insert(user)
        .values(
            iamid=new.iamid,
            userid=new.user_name.userid,
            canonical_userid=new.user_name.canonical,
            skeleton=new.user_name.skeleton,
            kind=new.kind.value,
            permissions=as_json_list(new.permissions),
            password_hash=new.password_hash,
            password_changed_at=new.created_at if new.password_hash else None,
            failed_logins=0,
            created_at=new.created_at,
            updated_at=new.created_at,
        )
        .returning(user.c.id)
    ).scalar_one()
    connection.execute(
        insert(profile).values(
            user_id=user_id,
            name=new.name,
            email=new.email,
            external_user_ids={},
            searched=searched_text(new.user_name.userid, new.name, new.email),
            created_at=new.created_at,
            updated_at=new.created_at,
        )
    )
    if new.owner is not None:
        lock_owners(connection, new.owner)
        check_owner_lives(connection, new.owner)
        if new.permissions:
            void_links_to(connection, owning([new.owner]))
        connection.execute(
            insert(service_account).values(
                user_id=user_id,
                owner_user_id=new.owner.user_id,
                owner_group_id=new.owner.group_id,
                disabled_with_owner=False,
            )
        )
    return user_id
