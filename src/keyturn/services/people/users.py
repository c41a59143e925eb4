"""Users: their accounts, profiles and passwords."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.pages import every
from keyturn.core.people import ServiceOwner, UserKind, UserRecord
from keyturn.core.permissions import DEFAULT_PERMISSIONS, Permission
from keyturn.core.principal import Principal
from keyturn.core.searches import UserSearch
from keyturn.core.user_names import fault_of_user_name, skeleton_of
from keyturn.errors import InvalidInput, InvalidState, NotFound
from keyturn.services.installation.setup import digest_setup_code
from keyturn.services.people.identity.attempts import SignInAttempts
from keyturn.services.people.identity.registry import IdentityProviders, elsewhere
from keyturn.services.people.identity.turns import Asker, asker_of
from keyturn.services.people.logins import StartedSession
from keyturn.services.people.sessions import BrowserSession, digest_session_token, new_session_token
from keyturn.services.people.time_zones import find_time_zone
from keyturn.services.text import canonical_userid, checked_email, checked_text, is_storable
from keyturn.store import Store
from keyturn.store.ownership.control import Allow
from keyturn.store.people.logins import KeptSession
from keyturn.store.people.users import UserName, UserToAdd
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of, stranger

USERID_MAX_CHARACTERS = 254
PROFILE_LIMITS: Mapping[str, int] = {
    "name": 254,
    "email": 254,
    "phone": 64,
    "about": 2000,
    "location": 254,
    "organization": 254,
    "position": 254,
}
"""The texts of a profile, with their length in characters."""

FREE_PROFILE_FIELDS = frozenset({"preferences", "external_user_ids"})
"""The fields that hold JSON, whose form is for the caller to check."""

TIME_ZONE = "time_zone"
"""The field that holds a name of the IANA time zone database, None for the zone of the browser."""

SYSTEM_USERID = "keyturn system"
"""The account that holds the system keys."""


class Users:
    """Make and change accounts."""

    def __init__(
        self,
        store: Store,
        *,
        identity: IdentityProviders,
        attempts: SignInAttempts,
        system: System,
    ) -> None:
        self._store = store
        self._identity = identity
        self._passwords = identity.built_in.passwords
        self._attempts = attempts
        self._system = system

    def add(  # noqa: PLR0913 - each is said of the user
        self,
        actor: Actor,
        *,
        userid: str,
        iamid: str | None = None,
        name: str | None,
        email: str | None = None,
        password: str | None = None,
        permissions: Iterable[str] = (),
        kind: UserKind = UserKind.PERSON,
        owner: ServiceOwner | None = None,
    ) -> UserRecord:
        """Make a user; with an `owner`, a service account.

        `iamid` names the provider that a person signs in with, None the built-in one. There they cannot sign
        in without a password; elsewhere they have none. A person holds the default permissions besides.
        """
        provider = self._identity.built_in if iamid is None else self._identity.find(iamid)
        if provider is None:
            raise NotFound
        if password is not None and not provider.stores_password:
            raise elsewhere("password", provider, provider.iamid)
        if owner is not None:
            kind = UserKind.SERVICE
        held = checked_permissions(permissions)
        if kind is UserKind.PERSON:
            held |= DEFAULT_PERMISSIONS
        new = self._user_to_add(userid, name, email, password, held, asker_of(actor))
        if new.user_name.canonical == SYSTEM_USERID and kind is not UserKind.SYSTEM:
            raise _is_keyturns_own()
        new = replace(new, iamid=provider.iamid, kind=kind, owner=owner)
        return self._store.users.add(new, self._creation(actor, new))

    def add_first(
        self, *, code: str, userid: str, name: str | None, password: str, origin: Origin
    ) -> UserRecord | None:
        """Make the first administrator with the printed code; None if the code is wrong or used (L13)."""
        actor = stranger(origin)
        new = self._user_to_add(userid, name, None, password, frozenset(Permission), asker_of(actor))
        return self._store.users.add_first(new, digest_setup_code(code), self._creation(actor, new))

    def _creation(self, actor: Actor, new: UserToAdd) -> AuditEntry:
        details: dict[str, Any] = {"userid": new.user_name.userid, "permissions": sorted(new.permissions)}
        action = AuditAction.USER_CREATED
        if new.owner is not None:
            action = AuditAction.SERVICE_ACCOUNT_CREATED
            details |= {"ownerUser": new.owner.user_id, "ownerGroup": new.owner.group_id}
        return AuditEntry(new.created_at, action, actor, Target.USER, None, details=details)

    def _user_to_add(
        self,
        userid: str,
        name: str | None,
        email: str | None,
        password: str | None,
        permissions: frozenset[str],
        asker: Asker,
    ) -> UserToAdd:
        user_name = _checked_user_name(userid)
        checked_name = checked_text("name", name, max_characters=PROFILE_LIMITS["name"])
        if password is not None:
            personal = (user_name.userid, checked_name)
            self._passwords.check_acceptable(password, field="password", personal=personal)
        return UserToAdd(
            iamid=self._identity.built_in.iamid,
            user_name=user_name,
            permissions=permissions,
            name=checked_name,
            email=checked_email("email", email, max_characters=PROFILE_LIMITS["email"]),
            password_hash=None if password is None else self._passwords.hash(password, asker),
            created_at=self._system.now(),
        )

    def get(self, principal: Principal) -> UserRecord:
        """Return the caller's own account."""
        record = self._store.users.find_by_id(principal.user_id)
        if record is None:
            raise NotFound
        return record

    def get_by_userid(self, iamid: str | None, userid: str, *, visible_to: int | None = None) -> UserRecord:
        """Return the user with this name, or, for digits, with this numeric id; raise `NotFound`.

        A user is found under the iamid of their record alone, also where that provider is gone. With None, a
        name is one of the built-in provider, and a number anybody's. With `visible_to`, only if it is that
        user, or a service account of theirs.
        """
        found = self._find_by_name(iamid, userid, visible_to=visible_to)
        if found is None and userid.isascii() and userid.isdigit() and len(userid) <= 18:
            found = self._store.users.find_by_id(int(userid), visible_to=visible_to)
            if found is not None and iamid is not None and found.iamid != iamid:
                found = None
        if found is None:
            raise NotFound(f"There is no user {userid}.")
        return found

    def get_by_name(self, iamid: str | None, userid: str) -> UserRecord:
        """Return the user with this name alone, for None at the built-in provider; raise `NotFound`."""
        found = self._find_by_name(iamid, userid)
        if found is None:
            raise NotFound(f"There is no user {userid}.")
        return found

    def find_system(self) -> UserRecord | None:
        """Return the account that holds the system keys; None before it is first needed."""
        return self._find_by_name(None, SYSTEM_USERID)

    def _find_by_name(
        self, iamid: str | None, userid: str, *, visible_to: int | None = None
    ) -> UserRecord | None:
        wanted = self._identity.built_in.iamid if iamid is None else iamid
        if not is_storable(wanted):
            return None
        return self._store.users.find_by_name(wanted, canonical_userid(userid), visible_to=visible_to)

    def list_all(self) -> Iterator[UserRecord]:
        """Return all users in the order they were made."""
        return every(lambda offset, size: self._store.users.search(UserSearch(), offset=offset, size=size))

    def checked_profile(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a profile as they are stored; raise `InvalidInput` for any others."""
        return {name: _checked_field(name, value) for name, value in fields.items()}

    def update_profile(self, principal: Principal, fields: Mapping[str, str | None], origin: Origin) -> None:
        """Change what the caller says of themselves; fields that are not given stay."""
        checked = self.checked_profile(fields)
        now = self._system.now()
        audit = AuditEntry(
            now,
            AuditAction.USER_PROFILE_UPDATED,
            actor_of(principal, origin),
            Target.USER,
            str(principal.user_id),
            details={"fields": sorted(checked)},
        )
        self._store.users.update_profile(principal.user_id, checked, now, audit)

    def change_password(
        self, current: BrowserSession, *, old: str, new: str, origin: Origin
    ) -> StartedSession:
        """Change the caller's own password; every other session of theirs ends, and this one's id changes.

        Raise `InvalidInput` when the old one is wrong, since somebody may have found an open browser, or when
        another provider keeps it; and `TooManyFailures` if they gave one too often.
        """
        principal = current.principal
        self._identity.check_stores_password_of(self.get(principal))
        self.check_own_password(principal, old, field="current_password", origin=origin)
        token = new_session_token(self._system)
        kept = KeptSession(current.session_id, digest_session_token(token))
        self._set_password(actor_of(principal, origin), self.get(principal), new, kept=kept)
        return StartedSession(token, principal.userid)

    def check_own_password(self, principal: Principal, password: str, *, field: str, origin: Origin) -> None:
        """Raise `InvalidInput` unless this is the caller's password; a wrong one counts as a guess.

        Raise `TooManyFailures`, before anything is hashed, if they gave theirs too often (Q1).
        """
        if not self._attempts.is_own_password(principal, password, origin, field=field):
            raise InvalidInput(field, "That’s not your current password.")

    def set_password(
        self,
        actor: Actor,
        user: UserRecord,
        password: str,
        *,
        allow: Allow | None = None,
    ) -> None:
        """Set anybody's password and end all their sessions.

        `allow` is asked about the permissions that come with the account.
        """
        if user.kind is not UserKind.PERSON:
            raise InvalidInput("userid", "A service account has keys and no password.")
        self._identity.check_stores_password_of(user)
        self._set_password(actor, user, password, kept=None, allow=allow)

    def _set_password(
        self,
        actor: Actor,
        user: UserRecord,
        password: str,
        *,
        kept: KeptSession | None,
        allow: Allow | None = None,
    ) -> None:
        self._passwords.check_acceptable(
            password, field="password", personal=(user.userid, user.profile.name)
        )
        now = self._system.now()
        audit = AuditEntry(now, AuditAction.USER_PASSWORD_UPDATED, actor, Target.USER, str(user.user_id))
        self._store.logins.set_password(
            user.user_id,
            self._passwords.hash(password, asker_of(actor)),
            now,
            audit,
            kept=kept,
            allow=allow,
        )

    def rename(self, actor: Actor, user: UserRecord, userid: str, *, allow: Allow | None = None) -> None:
        """Give a user another user name; nothing happens if it is theirs already.

        Sessions, keys and tokens go on, and name the user anew from the next request. Raise `Conflict` if
        somebody has the name, and `InvalidState` for a user whose names another provider gives. `allow` is
        asked about the permissions that come with the account.
        """
        if user.iamid != self._identity.built_in.iamid:
            raise InvalidState(f"The user name comes from {user.iamid}: change it there.")
        name = _checked_user_name(userid)
        if name.canonical == SYSTEM_USERID:
            raise _is_keyturns_own()
        audit = AuditEntry(
            self._system.now(), AuditAction.USER_RENAMED, actor, Target.USER, str(user.user_id)
        )
        self._store.users.rename(user.user_id, name, audit.at, audit, allow=allow)

    def set_disabled(self, actor: Actor, userid: str, *, disabled: bool) -> bool:
        """Stop a user's sessions, keys and tokens, or let the keys work again; False if nothing changed."""
        user = self.get_by_userid(None, userid)
        now = self._system.now()
        action = AuditAction.USER_DISABLED if disabled else AuditAction.USER_ENABLED
        audit = AuditEntry(now, action, actor, Target.USER, str(user.user_id))
        return self._store.users.set_disabled(user.user_id, now if disabled else None, now, audit)

    def sign_out(self, actor: Actor, userid: str) -> None:
        """End all sessions and tokens of a user, wherever they are. Their keys go on working."""
        user = self.get_by_userid(None, userid)
        now = self._system.now()
        audit = AuditEntry(now, AuditAction.USER_SIGNED_OUT, actor, Target.USER, str(user.user_id))
        self._store.users.sign_out(user.user_id, now, audit)

    def unlock(self, actor: Actor, user_id: int, *, allow: Allow | None = None) -> bool:
        """Forget the wrong passwords of a user, so that they may sign in again; False if there are none.

        `allow` is asked about the permissions that come with the account. A limit by address is of each
        process, and ends by itself within a minute.
        """
        audit = AuditEntry(self._system.now(), AuditAction.USER_UNLOCKED, actor, Target.USER, str(user_id))
        return self._store.logins.unlock(user_id, audit, allow=allow)


def _checked_user_name(userid: str) -> UserName:
    checked = checked_text("userid", userid, max_characters=USERID_MAX_CHARACTERS)
    if checked is None:
        raise InvalidInput("userid", "Enter a user name.")
    canonical = canonical_userid(checked)
    if canonical.isdigit():
        raise InvalidInput("userid", "A user name of digits alone would be taken for somebody's number.")
    fault = fault_of_user_name(checked)
    if fault is not None:
        raise InvalidInput("userid", fault)
    if len(canonical) > USERID_MAX_CHARACTERS:
        raise InvalidInput("userid", f"Enter a user name of at most {USERID_MAX_CHARACTERS} characters.")
    return UserName(checked, canonical, skeleton_of(checked))


def _is_keyturns_own() -> InvalidInput:
    return InvalidInput("userid", "This user name is Keyturn's own.")


def _checked_field(name: str, value: Any) -> Any:
    """Return a field of a profile as it is stored."""
    if name in FREE_PROFILE_FIELDS:
        return value
    if name == TIME_ZONE:
        if value and find_time_zone(value) is None:
            raise InvalidInput(name, "Choose a time zone from the list.")
        return value or None
    if name not in PROFILE_LIMITS:
        raise InvalidInput(name, f"There is no field {name} in a profile.")
    if name == "email":
        return checked_email(name, value, max_characters=PROFILE_LIMITS[name])
    return checked_text(name, value, max_characters=PROFILE_LIMITS[name], allows_lines=name == "about")


def checked_permissions(permissions: Iterable[str]) -> frozenset[str]:
    """Return a set of permissions; raise `InvalidInput` if one does not exist."""
    checked = frozenset(permissions)
    for permission in sorted(checked):
        if permission not in set(Permission):
            raise InvalidInput("permissions", f"There is no permission {permission}.")
    return checked
