"""Devices sign in (RFC 8628): a program shows a code, a person types it on a page, the program gets a key.

So no password is typed into a terminal. The key is made when the device asks for it after a person has
approved, and not before: what nobody fetches does not exist.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from keyturn.core import verification
from keyturn.core.apis import MAX_SCOPES_CHARACTERS
from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.device_codes import (
    RANDOM_BYTES,
    digest_device_code,
    digest_user_code,
    make_user_code,
    read_user_code,
)
from keyturn.core.device_logins import DeviceLogin
from keyturn.core.encoding import base64url_encode
from keyturn.core.lifetimes import Lifetime
from keyturn.core.networks import site_of
from keyturn.core.restrictions import Restrictions
from keyturn.core.scopes import is_scope
from keyturn.errors import (
    Conflict,
    CredentialRefused,
    InvalidInput,
    OAuthCode,
    OAuthRefused,
    QuotaExceeded,
    RateLimit,
    Reason,
    TooBusy,
)
from keyturn.services.apis.registry import Apis
from keyturn.services.keys.keys import CreatedKey, Keys, NewKey
from keyturn.services.people.sessions import BrowserSession
from keyturn.store import Store
from keyturn.store.oauth.device_logins import DeviceLoginToAdd
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of
from keyturn.verifying.rate_limit import RateLimiter

DEVICE_CODE_BYTES = 32
LIFE = timedelta(minutes=10)
INTERVAL_SECONDS = 5
"""How long a device waits between two questions."""
EARLY_SECONDS = 1
"""How much sooner a question may arrive: what was sent in time is not always delivered so."""
MAX_CLIENT_ID_CHARACTERS = 64
MAX_WAITING = 10_000
"""How many devices may wait at once: strangers begin this. Their networks share the places (Q8)."""
BEGINNINGS_PER_MINUTE = 10
"""From one source."""
WRONG_CODES_PER_MINUTE = 5
"""By one person. While a hundred devices wait, that is one hit in a century (RFC 8628, section 5.1)."""
DECISIONS_PER_MINUTE = 30
"""By one person. A decided login does not count, but its row stays until the device has had time to ask
(Q8)."""
UNKNOWN_CODES_PER_MINUTE = 60
"""From one source. Nobody guesses the device's own code, but each try is a question to the database (Q1)."""

Form = Mapping[str, str]


class _Polls:
    """When each device last asked, in this process: to ask writes nothing (RFC 8628, section 3.5)."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._asked_at: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def is_in_time(self, digest: bytes) -> bool:
        """Return whether a device that waits asks no sooner than it may; what is too soon does not count."""
        now = self._system.monotonic()
        with self._lock:
            asked_at = self._asked_at.get(digest)
            if asked_at is not None and now < asked_at + INTERVAL_SECONDS - EARLY_SECONDS:
                return False
            self._asked_at[digest] = now
            self._asked_at.move_to_end(digest)
            if len(self._asked_at) > MAX_WAITING:
                self._asked_at.popitem(last=False)
        return True


@dataclass(frozen=True, slots=True)
class BegunLogin:
    """The first answer to a device (RFC 8628, section 3.2). `web` adds the address of the page."""

    device_code: str = field(repr=False)
    user_code: str
    expires_in: int
    interval: int


class DeviceLogins:
    """Lets devices wait, people decide, and devices have what was decided."""

    def __init__(self, store: Store, *, keys: Keys, apis: Apis, system: System) -> None:
        self._store = store
        self._keys = keys
        self._apis = apis
        self._system = system
        self._beginnings = RateLimiter(
            BEGINNINGS_PER_MINUTE,
            system,
            refusal="Too many logins were begun from this address: wait before the next one.",
            limit=RateLimit.DEVICE_CODES,
        )
        self._wrong_codes = RateLimiter(
            WRONG_CODES_PER_MINUTE,
            system,
            refusal="Too many wrong codes: wait {wait} before the next one.",
            limit=RateLimit.DEVICE_CODES,
        )
        self._decisions = RateLimiter(
            DECISIONS_PER_MINUTE,
            system,
            refusal="Too many decisions about devices: wait {wait} before the next one.",
            limit=RateLimit.DEVICE_CODES,
        )
        self._unknown_codes = RateLimiter(UNKNOWN_CODES_PER_MINUTE, system, limit=RateLimit.DEVICE_CODES)
        self._polls = _Polls(system)

    def begin(self, form: Form, origin: Origin) -> BegunLogin:
        """Let a device wait for a person; raise `OAuthRefused`, `TooManyFailures` or `TooBusy`."""
        client_id = self._client_id(form)
        scopes = _scopes(form)
        self._beginnings.note(origin.address)
        now = self._system.now()
        device_code = base64url_encode(self._system.random_bytes(DEVICE_CODE_BYTES)).decode("ascii")
        user_code = make_user_code(self._system.random_bytes(RANDOM_BYTES))
        new = DeviceLoginToAdd(
            digest=digest_device_code(device_code),
            user_code_digest=digest_user_code(user_code),
            client_id=client_id,
            scopes=None if scopes is None else sorted(scopes),
            address=origin.address,
            network=site_of(origin.address),
            created_at=now,
            expires_at=now + LIFE,
        )
        try:
            has_room = self._store.device_logins.begin(new, forget_before=now - LIFE, at_most=MAX_WAITING)
        except Conflict:  # One in millions: the code is another device's.
            has_room = False
        if not has_room:
            raise TooBusy("Too many devices wait to be signed in: try again in a minute.", retry_after=60)
        return BegunLogin(device_code, user_code, int(LIFE.total_seconds()), INTERVAL_SECONDS)

    def get_waiting(self, session: BrowserSession, typed: str) -> DeviceLogin:
        """Return the device whose code a person typed.

        Raise `InvalidInput` for a code that is wrong or over, `TooManyFailures` after too many of them.
        """
        return self._find_waiting(session, typed)[0]

    def approve(self, session: BrowserSession, typed: str, lifetime: Lifetime, origin: Origin) -> DeviceLogin:
        """Let the device have a key of this person; raise as `get_waiting` does.

        Raise `InvalidInput` also for an unfit lifetime, and for scopes that the person may not hold;
        `TooManyFailures` also after too many decisions.

        Until the device has fetched it, the session must live in which this was said.
        """
        found, digest = self._find_waiting(session, typed)
        now = self._system.now()
        expires_at = self._keys.life.end_of(lifetime, now)
        if found.scopes is not None:
            self._apis.check_grantable(session.principal.user_id, sorted(found.scopes))
        audit = _decision(AuditAction.DEVICE_APPROVED, session, found, origin, self._system)
        self._decisions.note(_person(session))
        if not self._store.device_logins.approve(digest, session.session_id, expires_at, now, audit):
            raise InvalidInput("user_code", "Somebody else decided about this device just now.")
        return found

    def deny(self, session: BrowserSession, typed: str, origin: Origin) -> DeviceLogin:
        """Let the device have nothing; raise as `get_waiting` does, and after too many decisions."""
        found, digest = self._find_waiting(session, typed)
        audit = _decision(AuditAction.DEVICE_DENIED, session, found, origin, self._system)
        self._decisions.note(_person(session))
        if not self._store.device_logins.deny(digest, audit.at, audit):
            raise InvalidInput("user_code", "Somebody else decided about this device just now.")
        return found

    def take(self, form: Form, origin: Origin) -> CreatedKey:
        """Return the key of a device that was approved, made now and once; raise `OAuthRefused`.

        Raise `TooManyFailures` after too many codes that are unknown. It is named as the device called
        itself, is listed among the person's keys, and ends when they chose. Errors before that are those of
        RFC 8628, section 3.5.
        """
        presented = form.get("device_code", "")
        if not presented:
            raise OAuthRefused(OAuthCode.INVALID_REQUEST, "The parameter device_code is missing.")
        digest, now = digest_device_code(presented), self._system.now()
        self._unknown_codes.check(origin.address)
        found = self._store.device_logins.find_by_device_code(digest)
        if found is None or found.client_id != self._client_id(form):
            self._unknown_codes.note(origin.address)
            raise OAuthRefused(OAuthCode.INVALID_GRANT, "No device of this client waits with this code.")
        if found.expires_at <= now:
            raise OAuthRefused(OAuthCode.EXPIRED_TOKEN, "Nobody decided in time: begin again.")
        if found.is_denied:
            raise OAuthRefused(OAuthCode.ACCESS_DENIED, "A person refused this.")
        if found.session_id is None:
            if not self._polls.is_in_time(digest):
                raise OAuthRefused(OAuthCode.SLOW_DOWN, f"Ask every {INTERVAL_SECONDS} seconds at most.")
            raise OAuthRefused(OAuthCode.AUTHORIZATION_PENDING, "Nobody has decided yet.")
        try:
            made = self._make(digest, found, found.session_id, origin)
        except CredentialRefused:
            self._store.device_logins.withdraw(digest)
            made = None
        except QuotaExceeded as refused:
            raise OAuthRefused(OAuthCode.ACCESS_DENIED, str(refused)) from None
        if made is None:
            raise OAuthRefused(
                OAuthCode.INVALID_GRANT, "This was fetched already, or withdrawn: begin again."
            )
        return made

    def _make(self, digest: bytes, device: DeviceLogin, session_id: int, origin: Origin) -> CreatedKey | None:
        """Make the key of a device; None if another call did.

        Raise `CredentialRefused` if the session in which it was approved is over.
        """
        now = self._system.now()
        session = self._store.sessions.find_for_token(session_id)
        if session is None:
            raise CredentialRefused(Reason.UNKNOWN)
        approver = verification.principal_of_session(session)
        key, secret, audit = self._keys.prepare(
            approver.user_id,
            actor_of(approver, origin),
            NewKey(device.client_id, restrictions=Restrictions(scopes=device.scopes)),
            expires_at=device.key_expires_at,
        )
        made = self._store.device_logins.take(digest, key, now, audit)
        return None if made is None else CreatedKey(made, secret)

    def _find_waiting(self, session: BrowserSession, typed: str) -> tuple[DeviceLogin, bytes]:
        """Return the device, and the digest of its code; raise as `get_waiting` does."""
        person = _person(session)
        self._wrong_codes.check(person)
        code = read_user_code(typed)
        if code is not None:
            digest = digest_user_code(code)
            found = self._store.device_logins.find_waiting(digest, self._system.now())
            if found is not None:
                return found, digest
        self._wrong_codes.note(person)
        raise InvalidInput(
            "user_code", "No device is waiting with that code. Check the code, or start again on the device."
        )

    def _client_id(self, form: Form) -> str:
        """Return how the program calls itself, which its key is named after; raise `OAuthRefused`."""
        try:
            name = self._keys.checked_name(form.get("client_id"))
        except InvalidInput as error:
            raise OAuthRefused(OAuthCode.INVALID_REQUEST, f"client_id: {error}") from None
        if name is None or len(name) > MAX_CLIENT_ID_CHARACTERS:
            raise OAuthRefused(
                OAuthCode.INVALID_REQUEST,
                f"Send a client_id of 1 to {MAX_CLIENT_ID_CHARACTERS} characters, which names the program.",
            )
        return name


def _person(session: BrowserSession) -> str:
    """Return what a person's codes and decisions are counted under."""
    return f"user {session.principal.user_id}"


def _scopes(form: Form) -> frozenset[str] | None:
    """Return the scopes that are asked for, None for none; raise `OAuthRefused` for what is no scope."""
    wanted = frozenset(form.get("scope", "").split(" ")) - {""}
    if len(" ".join(wanted)) > MAX_SCOPES_CHARACTERS or not all(map(is_scope, wanted)):
        raise OAuthRefused(
            OAuthCode.INVALID_SCOPE,
            f"Scopes are printable ASCII without quotes, {MAX_SCOPES_CHARACTERS} characters in all at most.",
        )
    return wanted or None


def _decision(
    action: AuditAction, session: BrowserSession, device: DeviceLogin, origin: Origin, system: System
) -> AuditEntry:
    return AuditEntry(
        system.now(),
        action,
        actor_of(session.principal, origin),
        Target.USER,
        str(session.principal.user_id),
        details={"device": device.client_id, "address": device.address},
    )
