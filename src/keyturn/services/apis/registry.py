"""The registered APIs: an administrator says which there are, which scopes they have, and who may hold them.

The wire and the command call an API a *service*. A service account is something else: a user for a program.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import UNSET, UnsetType

from keyturn.core.apis import MAX_SCOPES_CHARACTERS, ApiRecord, ResourceScope
from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.people import GroupRecord
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import is_id
from keyturn.core.scopes import is_scope
from keyturn.core.searches import GroupSearch
from keyturn.errors import ChangedMeanwhile, Conflict, InvalidInput, NotFound
from keyturn.services.apis.fields import ScopeToRegister, as_registered, checked_fields
from keyturn.services.text import is_storable
from keyturn.store import Store
from keyturn.store.apis import ApiFields, ApiSearch
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of

SHOWN_CHARACTERS = 18
"""The part of a foreign name that messages repeat: nothing that could be a key."""


class Apis:
    """Registers APIs, for holders of APPLICATION_ADMIN. Others see what of them they may hold."""

    def __init__(self, store: Store, *, own_identifier: str, system: System) -> None:
        self._store = store
        self._own_identifier = own_identifier
        self._system = system

    def list_all(self, *, offset: int = 0, size: int = MAX_PAGE) -> Page[ApiRecord]:
        """Return a page of the APIs, in alphabetical order: for whoever may read the database."""
        return self._store.apis.search(ApiSearch(), offset=offset, size=size)

    def list_covering(self, scopes: frozenset[str]) -> Page[ApiRecord]:
        """Return the APIs that have one of these scopes, with all of theirs."""
        return self._store.apis.search(ApiSearch(scopes=scopes))

    def list_visible(
        self,
        principal: Principal,
        *,
        text: str | None = None,
        is_descending: bool = False,
        offset: int = 0,
        size: int = MAX_PAGE,
    ) -> Page[ApiRecord]:
        """Return a page of all to an administrator, to others of those of which they may hold scopes.

        With these scopes alone, and in alphabetical order, or its reverse. `text` is part of what is said of
        those that are looked for.
        """
        if not is_storable(text):
            return Page(0, ())
        wanted = ApiSearch(held_by=self._seen_by(principal), text=text, is_descending=is_descending)
        return self._store.apis.search(wanted, offset=offset, size=size)

    def get(self, principal: Principal, resource_id: int) -> ApiRecord:
        """Return one that the caller may see, as `list_visible` does; raise `NotFound` for any other."""
        return self._find(resource_id, held_by=self._seen_by(principal))

    def _seen_by(self, principal: Principal) -> tuple[int, ...]:
        return () if self.may_change(principal) else (principal.user_id,)

    def _find(self, resource_id: int, *, held_by: tuple[int, ...] = ()) -> ApiRecord:
        if not is_id(resource_id):
            raise NotFound
        found = self._store.apis.search(ApiSearch(resource_id=resource_id, held_by=held_by), size=1)
        if not found:
            raise NotFound
        return found[0]

    def may_change(self, principal: Principal) -> bool:
        """Return whether the caller may register APIs, and learns who may hold their scopes."""
        return principal.may(Permission.APPLICATION_ADMIN)

    def list_groups(self, principal: Principal, *, size: int = MAX_PAGE) -> Page[GroupRecord]:
        """Return the first groups that an administrator may name as holders, of all."""
        principal.check_may(Permission.APPLICATION_ADMIN)
        return self._store.groups.search(GroupSearch(), size=size)

    def name_groups(self, principal: Principal, group_ids: Collection[int]) -> dict[int, str]:
        """Return the names of these groups, for an administrator."""
        principal.check_may(Permission.APPLICATION_ADMIN)
        return self._store.groups.names(group_ids) if group_ids else {}

    def add(
        self,
        principal: Principal,
        origin: Origin,
        *,
        name: str,
        identifier: str,
        description: str | None,
        scopes: Sequence[ScopeToRegister],
    ) -> ApiRecord:
        """Register an API; raise `InvalidInput` if something about it is unfit or taken."""
        principal.check_may(Permission.APPLICATION_ADMIN)
        return self.register(
            actor_of(principal, origin),
            name=name,
            identifier=identifier,
            description=description,
            scopes=scopes,
        )

    def register(
        self,
        actor: Actor,
        *,
        name: str,
        identifier: str,
        description: str | None,
        scopes: Sequence[ScopeToRegister],
    ) -> ApiRecord:
        """Register an API from the command line; raise `InvalidInput` as `add` does."""
        fields = checked_fields(name, identifier, description, scopes)
        audit = self._about(actor, AuditAction.RESOURCE_CREATED, None, fields)
        self._check_free(fields, None)
        with _telling():
            resource_id = self._store.apis.add(fields, audit.at, audit)
        return self._find(resource_id)

    def update(
        self,
        principal: Principal,
        resource_id: int,
        origin: Origin,
        *,
        name: str | UnsetType = UNSET,
        identifier: str | UnsetType = UNSET,
        description: str | UnsetType | None = UNSET,
        scopes: Sequence[ScopeToRegister] | UnsetType = UNSET,
        seen: Sequence[ResourceScope] | None = None,
    ) -> ApiRecord:
        """Say something of an API anew; what is not given stays, as somebody else may have changed it.

        Keys and tokens cover no more what it does not have any more. Raise `ChangedMeanwhile` if its scopes
        are not those that were `seen`, where that is given.
        """
        principal.check_may(Permission.APPLICATION_ADMIN)
        given: dict[str, Any] = {
            "name": name,
            "identifier": identifier,
            "description": description,
            "scopes": scopes,
        }
        changes = {field: value for field, value in given.items() if value is not UNSET}
        fields = checked_fields(**(self._as_it_is(resource_id) | changes))
        audit = self._about(actor_of(principal, origin), AuditAction.RESOURCE_UPDATED, resource_id, fields)
        self._check_free(fields, resource_id)
        with _telling():
            found = is_id(resource_id) and self._store.apis.update(
                resource_id, fields, audit.at, audit, only=changes, seen=seen
            )
        if not found:
            raise NotFound
        return self.get(principal, resource_id)

    def _as_it_is(self, resource_id: int) -> dict[str, Any]:
        resource = self._find(resource_id)
        return {
            "name": resource.name,
            "identifier": resource.identifier,
            "description": resource.description,
            "scopes": [*map(as_registered, resource.scopes)],
        }

    def delete(self, principal: Principal, resource_id: int, origin: Origin) -> ApiRecord:
        """Forget an API, and return what there was: no token is good for it any more."""
        principal.check_may(Permission.APPLICATION_ADMIN)
        return self.unregister(actor_of(principal, origin), resource_id)

    def unregister(self, actor: Actor, resource_id: int) -> ApiRecord:
        """Forget an API from the command line, as `delete` does."""
        resource = self._find(resource_id)
        audit = AuditEntry(
            self._system.now(),
            AuditAction.RESOURCE_DELETED,
            actor,
            Target.RESOURCE,
            str(resource_id),
            details={"name": resource.name, "identifier": resource.identifier},
        )
        if not self._store.apis.delete(resource_id, audit):
            raise NotFound
        return resource

    def count_keys(self, principal: Principal, resource_id: int) -> int:
        """Return how many active keys are narrowed to a scope of this API, for an administrator."""
        principal.check_may(Permission.APPLICATION_ADMIN)
        names = self.get(principal, resource_id).scope_names
        return self._store.apis.count_narrowed(names, self._system.now())

    def list_grantable(self, user_id: int, *, size: int = MAX_PAGE) -> Page[ApiRecord]:
        """Return the first APIs of which a user may hold scopes, with these alone.

        As the database has it now: what is remembered for verification may be of a moment ago.
        """
        return self._store.apis.search(ApiSearch(held_by=(user_id,)), size=size)

    def list_givable(self, principal: Principal, user_id: int, *, size: int = MAX_PAGE) -> Page[ApiRecord]:
        """Return of `list_grantable` what the caller may put into a key of this user."""
        if principal.may(Permission.USER_ADMIN):
            return self.list_grantable(user_id, size=size)
        return self._store.apis.search(ApiSearch(held_by=(user_id, principal.user_id)), size=size)

    def check_grantable(self, user_id: int, scopes: Sequence[str]) -> tuple[str, ...]:
        """Return the scopes of a new key, each once; raise `InvalidInput` for what its user may not hold."""
        known = self._grantable_among(scopes, user_id)
        for scope in sorted(scopes):
            if scope not in known:
                raise InvalidInput("scopes", f"There is no scope {_named(scope)} that this user may hold.")
        if not scopes:
            raise InvalidInput("scopes", "Choose at least one scope, or leave the key as wide as its owner.")
        chosen = tuple(sorted(set(scopes)))
        if len(" ".join(chosen)) > MAX_SCOPES_CHARACTERS:
            raise InvalidInput("scopes", "So many scopes do not fit into a token: choose fewer for one key.")
        return chosen

    def check_may_act_as(self, principal: Principal, user_id: int, scopes: Collection[str] | None) -> None:
        """Raise `InvalidInput` if a key of this user would cover what the caller may not hold (A3).

        `scopes` is None for all that the user may hold. A caller who may put anybody into any group may hold
        anything. A scope that the caller may not hold is hidden: no message names it, and it counts as
        absent.
        """
        if principal.may(Permission.USER_ADMIN):
            return
        if scopes is None and self._store.apis.may_hold_more(user_id, principal.user_id):
            raise InvalidInput(
                "scopes",
                "This user may hold scopes that you may not hold yourself: choose some that you may.",
            )
        if not scopes:
            return
        with self._store.snapshot():
            covered = self._grantable_among(scopes, user_id)
            known = self._grantable_among(tuple(covered), principal.user_id)
        for scope in sorted(scopes):
            if scope not in known:
                raise InvalidInput(
                    "scopes", f"There is no scope {_named(scope)} that this user and you yourself may hold."
                )

    def _grantable_among(self, scopes: Collection[str], user_id: int) -> frozenset[str]:
        """Return those of these scopes that the user may hold, of no more than fit into a token."""
        named = sorted({scope for scope in scopes if is_scope(scope)})[:MAX_SCOPES_CHARACTERS]
        return self._store.apis.grantable_among(named, user_id) if named else frozenset()

    def _check_free(self, fields: ApiFields, resource_id: int | None) -> None:
        """Say which field is taken. The database decides; it cannot say which."""
        if fields.identifier == self._own_identifier:
            raise InvalidInput("identifier", "This is the identifier of this installation itself.")
        other = self._store.apis.find_taken(fields, other_than=resource_id)
        if other is None:
            return
        if other.name == fields.name:
            raise InvalidInput("name", "There is an API with this name.", code="unique")
        if other.identifier == fields.identifier:
            raise InvalidInput("identifier", f"This is the identifier of {other.name}.", code="unique")
        for scope in fields.scopes:
            if scope.name in other.scope_names:
                raise InvalidInput("scopes", f"{scope.name} is a scope of {other.name}.", code="unique")

    def _about(
        self,
        actor: Actor,
        action: AuditAction,
        resource_id: int | None,
        fields: ApiFields,
    ) -> AuditEntry:
        details: Mapping[str, Any] = {
            "name": fields.name,
            "identifier": fields.identifier,
            "scopes": {
                scope.name: "everyone" if scope.is_for_everyone else sorted(scope.group_ids)
                for scope in fields.scopes
            },
        }
        target = None if resource_id is None else str(resource_id)
        return AuditEntry(self._system.now(), action, actor, Target.RESOURCE, target, details=details)


@contextmanager
def _telling() -> Iterator[None]:
    """Say which field is at fault when the database refuses."""
    try:
        yield
    except ChangedMeanwhile:
        raise
    except Conflict as error:
        raise InvalidInput("name", str(error), code="unique") from None
    except NotFound:
        raise InvalidInput("scopes", "There is no such group.") from None


def _named(scope: str) -> str:
    return scope if is_scope(scope) and len(scope) <= SHOWN_CHARACTERS else "of this name"
