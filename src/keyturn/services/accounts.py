"""Users: their accounts, logins and passphrases."""

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from keyturn.core.principal import BUILT_IN_IAM, DEFAULT_PERMISSIONS, Permission, Principal
from keyturn.core.records import (
    Actor,
    AuditAction,
    AuditEntry,
    LoginRecord,
    SessionKind,
    SessionLimits,
    UserRecord,
)
from keyturn.errors import CredentialRefused, InvalidInput, NotFound, Reason
from keyturn.services.audit import Origin, actor_of, stranger
from keyturn.services.passwords import Passwords
from keyturn.services.sessions import BrowserSession, digest_session_token, new_session_token
from keyturn.services.text import checked_text
from keyturn.services.tokens import IssuedToken, TokenIssuer
from keyturn.store import Store
from keyturn.store.sessions import SessionToAdd
from keyturn.store.users import KeptSession, UserToAdd
from keyturn.system import System

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
"""The fields of a profile that its person may edit, with their length in characters."""

FREE_FAILURES = 5
"""Failed logins in a row before the delay begins."""
MAX_DELAY = timedelta(minutes=15)
MAX_FAILURES = 100
"""After this many failed logins in a row only an administrator opens the account again (NIST SP 800-63B)."""
FOR_GOOD = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class StartedSession:
    """A browser session in the one answer that sets its cookie."""

    cookie: str = field(repr=False)
    userid: str


class Accounts:
    """What can be done to an account."""

    def __init__(
        self,
        store: Store,
        *,
        passwords: Passwords,
        issuer: TokenIssuer,
        session_limits: SessionLimits,
        token_life: timedelta,
        system: System,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._issuer = issuer
        self._limits = session_limits
        self._token_life = token_life
        self._system = system

    # Login

    def log_in_browser(self, userid: str, password: str, origin: Origin) -> StartedSession:
        """Start a session for a person; raise `CredentialRefused` for a wrong name or passphrase alike."""
        login = self._check_password(BUILT_IN_IAM, userid, password, origin)
        cookie = new_session_token(self._system)
        self._start(
            login, password, SessionKind.BROWSER, digest_session_token(cookie), self._limits.absolute, origin
        )
        return StartedSession(cookie, login.userid)

    def log_in_api(self, iamid: str, userid: str, password: str, origin: Origin) -> IssuedToken:
        """Give a bearer token for a passphrase. It shows, and can be ended, among the person's sessions."""
        login = self._check_password(iamid, userid, password, origin)
        digest = digest_session_token(new_session_token(self._system))
        started_at, session_id = self._start(
            login, password, SessionKind.TOKEN, digest, self._token_life, origin
        )
        return self._issuer.for_session(session_id, login.user_id, started_at + self._token_life)

    def _check_password(self, iamid: str, userid: str, password: str, origin: Origin) -> LoginRecord:
        """Return the account; raise `CredentialRefused`, after the same work whatever was wrong (L3)."""
        found = None
        if iamid == BUILT_IN_IAM:
            found = self._store.users.find_for_login(BUILT_IN_IAM, canonical_userid(userid))
        now = self._system.now()
        is_locked = found is not None and found.locked_until is not None and found.locked_until > now
        may_try = found is not None and not found.is_disabled and not is_locked
        is_right = self._passwords.is_right(password, found.password_hash if found and may_try else None)
        if found is not None and is_right:
            return found
        audit = AuditEntry(
            now,
            AuditAction.USER_LOGIN_FAILED,
            stranger(origin),
            "USER",
            str(found.user_id) if found is not None else "unknown",
            succeeded=False,
        )
        if found is not None and may_try:
            self._store.users.record_failed_login(
                found.user_id, _locked_until(found.failed_logins + 1, now), audit
            )
        else:
            self._store.audit_log.record(audit)
        raise CredentialRefused(Reason.LOGIN_FAILED)

    def _start(
        self,
        login: LoginRecord,
        password: str,
        kind: SessionKind,
        digest: bytes,
        life: timedelta,
        origin: Origin,
    ) -> tuple[datetime, int]:
        """Store the session that a right passphrase opens; return its start and id."""
        now = self._system.now()
        rehashed = None
        if login.password_hash is not None and self._passwords.is_outdated(login.password_hash):
            rehashed = self._passwords.hash(password)
        session = SessionToAdd(
            user_id=login.user_id,
            digest=digest,
            kind=kind,
            created_at=now,
            expires_at=now + life,
            address=origin.address,
            user_agent=origin.user_agent,
        )
        actor = Actor(login.user_id, login.userid, None, origin.address, origin.user_agent, origin.request_id)
        audit = AuditEntry(
            now, AuditAction.USER_LOGGED_IN, actor, "USER", str(login.user_id), details={"kind": kind.value}
        )
        session_id = self._store.users.record_login(
            session, audit, checked=login.password_hash, rehashed=rehashed
        )
        if session_id is None:
            raise CredentialRefused(Reason.LOGIN_FAILED)
        return now, session_id

    # Accounts

    def add(
        self,
        actor: Actor,
        *,
        userid: str,
        name: str | None,
        email: str | None = None,
        password: str | None = None,
        permissions: frozenset[str] | None = None,
    ) -> UserRecord:
        """Make a user. Without a passphrase they cannot sign in; without permissions they get the default."""
        new = self._user_to_add(userid, name, email, password, permissions)
        return self._store.users.add(new, self._creation(actor, new))

    def add_first(
        self, *, code: str, userid: str, name: str | None, password: str, origin: Origin
    ) -> UserRecord | None:
        """Make the first administrator with the printed code; None if the code is wrong or used (L13)."""
        new = self._user_to_add(userid, name, None, password, frozenset(Permission))
        return self._store.users.add_first(
            new, digest_setup_code(code), self._creation(stranger(origin), new)
        )

    def _creation(self, actor: Actor, new: UserToAdd) -> AuditEntry:
        details = {"userid": new.userid, "permissions": sorted(new.permissions)}
        return AuditEntry(new.created_at, AuditAction.USER_CREATED, actor, "USER", None, details=details)

    def _user_to_add(
        self,
        userid: str,
        name: str | None,
        email: str | None,
        password: str | None,
        permissions: frozenset[str] | None,
    ) -> UserToAdd:
        checked = checked_text("userid", userid, max_characters=USERID_MAX_CHARACTERS)
        if checked is None:
            raise InvalidInput("userid", "Give a user name.")
        granted = DEFAULT_PERMISSIONS if permissions is None else permissions
        for permission in sorted(granted):
            if permission not in set(Permission):
                raise InvalidInput("permissions", f"There is no permission {permission}.")
        checked_name = checked_text("name", name, max_characters=PROFILE_LIMITS["name"])
        if password is not None:
            self._passwords.check_acceptable(password, field="password", personal=(checked, checked_name))
        return UserToAdd(
            iamid=BUILT_IN_IAM,
            userid=checked,
            canonical_userid=canonical_userid(checked),
            permissions=frozenset(granted),
            name=checked_name,
            email=checked_text("email", email, max_characters=PROFILE_LIMITS["email"]),
            password_hash=None if password is None else self._passwords.hash(password),
            created_at=self._system.now(),
        )

    def get(self, principal: Principal) -> UserRecord:
        """Return the caller's own account."""
        record = self._store.users.find_by_id(principal.user_id)
        if record is None:
            raise NotFound
        return record

    def get_by_userid(self, iamid: str, userid: str) -> UserRecord:
        """Return the user with this name, or, for digits, with this numeric id; raise `NotFound`."""
        if iamid != BUILT_IN_IAM:
            raise NotFound(f"There is no user {userid}.")
        found = self._store.users.find_by_name(iamid, canonical_userid(userid))
        if found is None and userid.isascii() and userid.isdigit() and len(userid) <= 18:
            found = self._store.users.find_by_id(int(userid))
        if found is None:
            raise NotFound(f"There is no user {userid}.")
        return found

    def find_visible(
        self, principal: Principal, iamid: str, userid: str, *others_need: Permission
    ) -> UserRecord:
        """Return a user that the caller may see: themselves, or, with such a permission, anybody.

        Raise `NotFound` for a hidden user and for an absent one alike.
        """
        try:
            user = self.get_by_userid(iamid, userid)
        except NotFound:
            raise NotFound from None
        if user.user_id != principal.user_id and not principal.may(*others_need):
            raise NotFound
        return user

    def list_all(self) -> list[UserRecord]:
        """Return all users."""
        return self._store.users.list_all()

    def update_profile(self, principal: Principal, fields: Mapping[str, str | None], origin: Origin) -> None:
        """Change what the caller says of themselves; fields that are not given stay."""
        checked = {
            name: checked_text(name, text, max_characters=PROFILE_LIMITS[name], allows_lines=name == "about")
            for name, text in fields.items()
        }
        now = self._system.now()
        audit = AuditEntry(
            now,
            AuditAction.USER_PROFILE_UPDATED,
            actor_of(principal, origin),
            "USER",
            str(principal.user_id),
            details={"fields": sorted(checked)},
        )
        self._store.users.update_profile(principal.user_id, checked, now, audit)

    def change_password(
        self, current: BrowserSession, *, old: str, new: str, origin: Origin
    ) -> StartedSession:
        """Change the caller's own passphrase; every other session of theirs ends, and this one's id changes.

        Raise `InvalidInput` when the old one is wrong: whoever found an open browser does not get in.
        """
        principal = current.principal
        login = self._store.users.find_for_password_change(principal.user_id)
        now = self._system.now()
        is_locked = login is not None and login.locked_until is not None and login.locked_until > now
        if login is None or is_locked or not self._passwords.is_right(old, login.password_hash):
            if login is not None and not is_locked:
                audit = AuditEntry(
                    now,
                    AuditAction.USER_LOGIN_FAILED,
                    actor_of(principal, origin),
                    "USER",
                    str(principal.user_id),
                    succeeded=False,
                )
                self._store.users.record_failed_login(
                    login.user_id, _locked_until(login.failed_logins + 1, now), audit
                )
            raise InvalidInput(
                "current_password", "This is not your current passphrase. Try again in a moment."
            )
        cookie = new_session_token(self._system)
        kept = KeptSession(current.session_id, digest_session_token(cookie))
        self._set_password(actor_of(principal, origin), self.get(principal), new, kept=kept)
        return StartedSession(cookie, principal.userid)

    def set_password(self, actor: Actor, userid: str, password: str) -> None:
        """Set anybody's passphrase and end all their sessions: for the command line."""
        self._set_password(actor, self.get_by_userid(BUILT_IN_IAM, userid), password, kept=None)

    def _set_password(
        self, actor: Actor, user: UserRecord, password: str, *, kept: KeptSession | None
    ) -> None:
        self._passwords.check_acceptable(
            password, field="password", personal=(user.userid, user.profile.name)
        )
        now = self._system.now()
        audit = AuditEntry(now, AuditAction.USER_PASSWORD_UPDATED, actor, "USER", str(user.user_id))
        self._store.users.set_password(user.user_id, self._passwords.hash(password), now, audit, kept=kept)

    def set_disabled(self, actor: Actor, userid: str, *, disabled: bool) -> bool:
        """Stop a user's sessions, keys and tokens, or let the keys work again; False if nothing changed."""
        user = self.get_by_userid(BUILT_IN_IAM, userid)
        now = self._system.now()
        action = AuditAction.USER_DISABLED if disabled else AuditAction.USER_ENABLED
        audit = AuditEntry(now, action, actor, "USER", str(user.user_id))
        return self._store.users.set_disabled(user.user_id, now if disabled else None, now, audit)


def canonical_userid(userid: str) -> str:
    """Fold a user name, so that case, width and white space around it name the same account (L4)."""
    text = userid.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    return unicodedata.normalize("NFKC", text).strip().casefold()


def digest_setup_code(code: str) -> bytes:
    """Return what a set-up code is stored as."""
    return hashlib.sha256(b"setup " + code.strip().encode("utf-8", "surrogatepass")).digest()


def _locked_until(failures: int, now: datetime) -> datetime | None:
    """Return until when the account refuses logins after this many failures in a row."""
    if failures >= MAX_FAILURES:
        return now + FOR_GOOD
    if failures < FREE_FAILURES:
        return None
    return now + min(timedelta(seconds=2 ** (failures - FREE_FAILURES)), MAX_DELAY)
