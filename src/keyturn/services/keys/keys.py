"""A person's own keys: make, list, revoke."""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from msgspec import structs

from keyturn.core import api_key as core
from keyturn.core import verification
from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.former_secrets import FORMER_SECRET
from keyturn.core.lifetimes import KeyLife, Lifetime, end_within
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.principal import Principal
from keyturn.core.records import ApiKeyRecord, is_id
from keyturn.core.restrictions import UNRESTRICTED, Restrictions
from keyturn.core.searches import KeyCounts, KeySearch
from keyturn.errors import ChangeRefused, Conflict, InvalidInput, NotFound
from keyturn.services.apis.registry import Apis
from keyturn.services.keys.imported_keys import check_not_made_up
from keyturn.services.keys.presented import find_presented, is_well_formed
from keyturn.services.people.authority import check_may_grant
from keyturn.services.people.projects import Projects
from keyturn.services.people.quotas import Quotas
from keyturn.services.text import checked_text, is_storable
from keyturn.store import Store
from keyturn.store.keys.api_keys import KeyToAdd
from keyturn.store.ownership.control import Allow
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of
from keyturn.verifying.uses import Usage

NAME_MAX_CHARACTERS = 254
IDEMPOTENCY_KEY_MAX_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class NewKey:
    """The choices for a new key."""

    name: str | None = None
    lifetime: Lifetime | None = None
    """None for the installation's default."""
    restrictions: Restrictions = UNRESTRICTED
    project_id: int | None = None
    """A project that its user is in, whose connections alone it sees; None for all."""
    idempotency_key: str | None = None
    """By which a retry finds the key that the first try made."""
    note: str | None = None


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key with its secret, in the one answer that carries it."""

    record: ApiKeyRecord
    secret: str = field(repr=False)


class Keys:
    """Make, list and revoke one's own keys."""

    def __init__(
        self,
        store: Store,
        *,
        key_format: core.ApiKeyFormat,
        life: KeyLife,
        usage: Usage,
        projects: Projects,
        apis: Apis,
        quotas: Quotas,
        system: System,
    ) -> None:
        self._store = store
        self._format = key_format
        self.life = life
        self._usage = usage
        self._projects = projects
        self._apis = apis
        self.quotas = quotas
        self._system = system

    def create(
        self,
        principal: Principal,
        origin: Origin,
        new: NewKey,
        *,
        replaces_on_retry: bool = True,
        for_user: int | None = None,
    ) -> CreatedKey:
        """Make a key for the caller, or for the service account `for_user` that they manage.

        A key that is made with another key, or with a token of it, ends no later, does no more, sees no
        more, works from nowhere else, and is bound to the same key pair as that one (A3).

        Raise `InvalidInput` for scopes that its user may not hold, and for what is wider than its maker;
        `Conflict` if `new.lifetime` asks for a later end, `ChangeRefused` for a former secret;
        `QuotaExceeded` or `TooManyFailures` for too many keys, or for too many within a minute.

        With the `idempotency_key` of an earlier call the same key gets a new secret, in place of the one
        whose answer was lost; or, without `replaces_on_retry`, `Conflict` is raised.
        """
        self.check_may_make(principal)
        user_id = principal.user_id if for_user is None else for_user
        if new.restrictions.scopes is not None:
            self._apis.check_grantable(user_id, sorted(new.restrictions.scopes))
        now = self._system.now()
        expires_at = end_within(principal, new.lifetime, self.life.end_of(new.lifetime, now))
        new = self._within_maker(principal, origin, new, now)
        actor = actor_of(principal, origin)
        if new.project_id is not None and new.restrictions.scopes is not None:
            raise InvalidInput("scopes", "A key of a project covers no scopes: choose one of both.")
        if new.project_id is not None:
            self._projects.check_linkable(user_id, new.project_id)
        key, secret = self._new_key(user_id, new, now, expires_at)
        key = replace(key, at_most=self.quotas.keys_per_owner)
        self.quotas.note_creation(principal)
        try:
            may_act_as = None if for_user is None else partial(check_may_grant, principal)
            return self._add(key, secret, actor, allow=may_act_as)
        except Conflict:
            if new.idempotency_key is None or not replaces_on_retry:
                raise
        audit = self._audit(AuditAction.API_KEY_REPLACED, actor, key)
        replaced = self._store.api_keys.replace_secret(key, audit)
        if replaced is None:
            raise Conflict("This Idempotency-Key was used for another key: use a new one.")
        return CreatedKey(replaced, secret)

    def _within_maker(self, principal: Principal, origin: Origin, new: NewKey, now: datetime) -> NewKey:
        """Hold a new key, but for its end, within the key that it is made with, if there is one (A3)."""
        if principal.key_id is None:
            return new
        maker = verification.check_api_key(
            self._store.api_keys.find_for_token(principal.key_id),
            now=now,
            source=origin.address,
            target=origin.target,
        )
        if maker.project_id is not None and new.project_id not in {None, maker.project_id}:
            raise NotFound("You are in no such project.")
        held = structs.replace(maker.restrictions, scopes=principal.scopes, jkt=principal.jkt)
        return replace(
            new,
            restrictions=new.restrictions.within(held),
            project_id=new.project_id if maker.project_id is None else maker.project_id,
        )

    @staticmethod
    def check_may_make(principal: Principal) -> None:
        """Raise `ChangeRefused` for a secret that was rotated away, and for a token of it."""
        if principal.credential.is_former_secret:
            raise ChangeRefused(f"{FORMER_SECRET} Use the new one.")

    def create_for(self, user_id: int, actor: Actor, new: NewKey) -> CreatedKey:
        """Make a key for any user: for the command line."""
        now = self._system.now()
        return self._add(*self._new_key(user_id, new, now, self.life.end_of(new.lifetime, now)), actor)

    def prepare(
        self, user_id: int, actor: Actor, new: NewKey, *, expires_at: datetime | None
    ) -> tuple[KeyToAdd, str, AuditEntry]:
        """Draw a key that another service stores with more; return it with its secret and audit entry.

        That service has checked the restrictions, and the expiry, None for never.
        """
        key, secret = self._new_key(user_id, new, self._system.now(), expires_at)
        key = replace(key, at_most=self.quotas.keys_per_owner)
        return key, secret, self._audit(AuditAction.API_KEY_CREATED, actor, key)

    def import_foreign(
        self, user_id: int, actor: Actor, *, text: str, name: str | None, lifetime: Lifetime | None
    ) -> ApiKeyRecord:
        """Take over a key that was made elsewhere; raise `InvalidInput` if it is unfit or known already."""
        try:
            new = self._format.import_foreign_key(text)
        except ValueError as error:
            raise InvalidInput("apikey", f"{str(error)[0].upper()}{str(error)[1:]}.") from None
        check_not_made_up(text)
        now = self._system.now()
        chosen = NewKey(name, lifetime)
        key = self._key_to_add(user_id, new, chosen, now, self.life.end_of(lifetime, now))
        audit = self._audit(AuditAction.API_KEY_IMPORTED, actor, key)
        try:
            return self._store.api_keys.add(key, audit)
        except Conflict:
            raise InvalidInput("apikey", "This key was imported already.") from None

    def count_living(self, user_ids: Collection[int]) -> dict[int, int]:
        """Return how many living keys each of these users has, for whoever may see them."""
        return self._store.api_keys.count_living(user_ids, now=self._system.now())

    def list_own(self, principal: Principal, *, offset: int = 0, size: int = MAX_PAGE) -> Page[ApiKeyRecord]:
        """Return a page of the caller's keys, the newest first, with their last use up to this moment."""
        return self.list_of(principal.user_id, offset=offset, size=size)

    def list_of(self, user_id: int, *, offset: int = 0, size: int = MAX_PAGE) -> Page[ApiKeyRecord]:
        """Return a page of any user's keys: for administrators and the command line."""
        return self._latest(self._store.api_keys.list_of_user(user_id, offset=offset, size=size))

    def list_active(self, user_id: int, *, offset: int = 0, size: int = MAX_PAGE) -> Page[ApiKeyRecord]:
        """Return a page of any user's living keys, the newest first."""
        now = self._system.now()
        return self._latest(self._store.api_keys.list_active(user_id, now=now, offset=offset, size=size))

    def list_ended(self, user_id: int, *, offset: int = 0, size: int = MAX_PAGE) -> Page[ApiKeyRecord]:
        """Return a page of any user's keys that are revoked or over, the newest first."""
        now = self._system.now()
        return self._latest(self._store.api_keys.list_ended(user_id, now=now, offset=offset, size=size))

    def list_active_first(self, user_id: int, *, offset: int = 0, size: int = MAX_PAGE) -> Page[ApiKeyRecord]:
        """Return a page of any user's keys: those that live, then those that ended, each the newest first."""
        active = self.list_active(user_id, offset=offset, size=size)
        ended = self.list_ended(user_id, offset=max(offset - active.count, 0), size=size - len(active.items))
        return Page(active.count + ended.count, (*active, *ended))

    def search_own(
        self, principal: Principal, wanted: KeySearch, *, offset: int = 0, size: int = MAX_PAGE
    ) -> Page[ApiKeyRecord]:
        """Return those of the caller's own keys that are looked for."""
        return self.search_of(principal.user_id, wanted, offset=offset, size=size)

    def search_of(
        self, user_id: int, wanted: KeySearch, *, offset: int = 0, size: int = MAX_PAGE
    ) -> Page[ApiKeyRecord]:
        """Return those of any user's keys that are looked for: for who may see them."""
        if not is_storable(wanted.text):
            return Page(0, ())
        wanted = replace(wanted, user_id=user_id)
        found = self._store.api_keys.search(wanted, now=self._system.now(), offset=offset, size=size)
        return self._latest(Page(found.count, tuple(owned.key for owned in found.items)))

    def count_parts(self, user_id: int, text: str | None = None) -> KeyCounts:
        """Return how many of a user's keys, or of those that `text` finds, are in each part of the list."""
        wanted = KeySearch(user_id=user_id, text=text if is_storable(text) else None)
        return self._store.api_keys.count_parts(wanted, now=self._system.now())

    def _latest(self, page: Page[ApiKeyRecord]) -> Page[ApiKeyRecord]:
        return Page(page.count, tuple(map(self._with_latest_use, page.items)))

    def get_own(self, principal: Principal, key_id: int) -> ApiKeyRecord:
        """Return one of the caller's keys; raise `NotFound` for any other."""
        return self.get_of(principal.user_id, key_id)

    def find_own_presented(self, principal: Principal, secret: str) -> int | None:
        """Return the number of the caller's key with this secret, as `presented.find_presented` does."""
        found = find_presented(self._store, self._format, secret)
        return None if found is None or found.owner.user_id != principal.user_id else found.key_id

    def is_well_formed(self, secret: str) -> bool:
        """Return whether a text is a whole key, as far as its form and its checksum tell."""
        return is_well_formed(self._format, secret)

    def get_of(self, user_id: int, key_id: int) -> ApiKeyRecord:
        """Return one of any user's keys; raise `NotFound` if it is another's."""
        record = self._store.api_keys.find_of_user(key_id, user_id) if is_id(key_id) else None
        if record is None:
            raise NotFound
        return self._with_latest_use(record)

    def revoke_own(self, principal: Principal, key_id: int, origin: Origin) -> None:
        """End one of the caller's keys, and every token made from it; raise `NotFound` for any other.

        A key that is revoked already is not found either: there is nothing left to end. A credential that is
        narrowed finds only the key that it comes from.
        """
        if not principal.is_unbound and principal.key_id != key_id:
            raise NotFound
        self.revoke_of(principal.user_id, key_id, actor_of(principal, origin))

    def revoke_of(self, user_id: int, key_id: int, actor: Actor) -> None:
        """End one of any user's keys; raise `NotFound` if it is another's, or dead."""
        if not is_id(key_id) or not self._revoke(key_id, user_id, actor):
            raise NotFound

    def revoke_presented(self, user_id: int, digest: bytes, actor: Actor) -> None:
        """End the key with this digest; raise `NotFound` if it is another user's, dead, or was never made."""
        found = self._store.api_keys.find_for_verification(digest)
        if found is None or found.owner.user_id != user_id:
            raise NotFound
        self.revoke_of(user_id, found.key_id, actor)

    def revoke_any(self, key_id: int, actor: Actor) -> None:
        """End anybody's key: for administrators."""
        owner = self._store.api_keys.find_owner(key_id) if is_id(key_id) else None
        if owner is None or not self._revoke(key_id, owner, actor):
            raise NotFound(f"There is no living key {key_id}.")

    def _revoke(self, key_id: int, user_id: int, actor: Actor) -> bool:
        now = self._system.now()
        audit = AuditEntry(now, AuditAction.API_KEY_DELETED, actor, Target.API_KEY, str(key_id))
        return self._store.api_keys.revoke(key_id, user_id, now, audit)

    def _new_key(
        self, user_id: int, new: NewKey, now: datetime, expires_at: datetime | None
    ) -> tuple[KeyToAdd, str]:
        """Draw a key; return what is stored of it, and its secret."""
        drawn = self._format.make_api_key(self._system.random_bytes(core.RANDOM_BYTES))
        return self._key_to_add(user_id, drawn, new, now, expires_at), drawn.text

    def _add(
        self,
        key: KeyToAdd,
        secret: str,
        actor: Actor,
        *,
        allow: Allow | None = None,
    ) -> CreatedKey:
        audit = self._audit(AuditAction.API_KEY_CREATED, actor, key)
        return CreatedKey(self._store.api_keys.add(key, audit, allow=allow), secret)

    def _key_to_add(
        self, user_id: int, drawn: core.NewApiKey, new: NewKey, now: datetime, expires_at: datetime | None
    ) -> KeyToAdd:
        return KeyToAdd(
            user_id=user_id,
            digest=drawn.digest,
            masked=core.mask(self._format.prefix, drawn.public_id, drawn.last_characters),
            name=self.checked_name(new.name),
            note=self.checked_note(new.note),
            created_at=now,
            expires_at=expires_at,
            restrictions=new.restrictions,
            project_id=new.project_id,
            idempotency_key=digest_idempotency_key(new.idempotency_key),
        )

    def _audit(self, action: AuditAction, actor: Actor, key: KeyToAdd) -> AuditEntry:
        expires = key.expires_at.isoformat() if key.expires_at is not None else "never"
        return AuditEntry(
            key.created_at,
            action,
            actor,
            Target.API_KEY,
            None,
            details={
                "name": key.name,
                "userId": key.user_id,
                "expires": expires,
                **key.restrictions.to_details(),
                **({} if key.project_id is None else {"projectId": key.project_id}),
            },
        )

    def _with_latest_use(self, record: ApiKeyRecord) -> ApiKeyRecord:
        latest = self._usage.latest(record)
        return record if latest is record.last_use else structs.replace(record, last_use=latest)

    def update_own(
        self, principal: Principal, key_id: int, *, name: str | None, note: str | None, origin: Origin
    ) -> None:
        """Give one of the caller's keys another name and note; raise `NotFound` if it is not theirs."""
        values = {"name": self.checked_name(name), "note": self.checked_note(note)}
        now = self._system.now()
        audit = AuditEntry(
            now, AuditAction.API_KEY_UPDATED, actor_of(principal, origin), Target.API_KEY, str(key_id)
        )
        if not is_id(key_id) or not self._store.api_keys.update(key_id, principal.user_id, values, audit):
            raise NotFound

    def checked_note(self, note: str | None) -> str | None:
        """Return the note of a key, as `checked_name` returns its name."""
        if note is not None and re.search(self._format.pattern, note):
            raise InvalidInput("note", "This looks like a key. Enter a note that others may see.")
        return checked_text("note", note, max_characters=NAME_MAX_CHARACTERS)

    def checked_name(self, name: str | None) -> str | None:
        """Return the name of a key, None for an empty one; raise `InvalidInput`, also for a key itself."""
        if name is not None and re.search(self._format.pattern, name):
            raise InvalidInput("name", "This looks like a key. Enter a name that others may see.")
        return checked_text("name", name, max_characters=NAME_MAX_CHARACTERS)


def digest_idempotency_key(text: str | None) -> str | None:
    """Return what is stored of an idempotency key: its digest, since what is sent by mistake could be a key.

    Raise `InvalidInput` for one that is too long.
    """
    if text is None:
        return None
    if not 0 < len(text) <= IDEMPOTENCY_KEY_MAX_CHARACTERS:
        raise InvalidInput(
            "Idempotency-Key", f"An Idempotency-Key has 1 to {IDEMPOTENCY_KEY_MAX_CHARACTERS} characters."
        )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
