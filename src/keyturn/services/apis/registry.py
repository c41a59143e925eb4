"""The registered APIs: an administrator says which there are, which scopes they have, and who may hold them.

Shown to people as *services*. A service account is something else: a user that is no person.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from msgspec import UNSET, UnsetType

from keyturn.core.apis import MAX_SCOPES_CHARACTERS, ApiRecord, ResourceScope
from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.people import GroupRecord
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import is_id
from keyturn.core.scopes import is_scope
from keyturn.errors import ChangedMeanwhile, Conflict, InvalidInput, NotFound
from keyturn.services.apis.fields import ScopeToRegister, as_registered, checked_fields
from keyturn.store import Store
from keyturn.store.apis import ApiFields
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of

SHOWN_CHARACTERS = 18
"""What of a foreign name is repeated: never something that could be a key."""


class Apis:
    """Registers APIs, for holders of APPLICATION_ADMIN. Others see what of them they may hold."""

    def __init__(self, store: Store, *, own_identifier: str, system: System) -> None:
        self._store = store
        self._own_identifier = own_identifier
        self._system = system

    def list_all(self) -> list[ApiRecord]:
        """Return the registered APIs, in alphabetical order: for whoever may read the database."""
        return self._store.apis.list_all()

    def list_visible(self, principal: Principal) -> list[ApiRecord]:
        """Return all to an administrator, to others those of which they may hold scopes, with these alone.

        In alphabetical order.
        """
        if self.may_change(principal):
            return self.list_all()
        return self.list_grantable(principal.user_id)

    def get(self, principal: Principal, resource_id: int) -> ApiRecord:
        """Return one that the caller may see, as `list_visible` does; raise `NotFound` for any other."""
        return _one_of(self.list_visible(principal), resource_id)

    def may_change(self, principal: Principal) -> bool:
        """Return whether the caller may register APIs, and learns who may hold their scopes."""
        return principal.may(Permission.APPLICATION_ADMIN)

    def list_groups(self, principal: Principal) -> list[GroupRecord]:
        """Return the groups that an administrator may name as holders: all."""
        principal.check_may(Permission.APPLICATION_ADMIN)
        return self._store.groups.list_all()

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
        return _one_of(self.list_all(), resource_id)

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
        resource = _one_of(self.list_all(), resource_id)
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
        resource = _one_of(self.list_all(), resource_id)
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
        narrowed = self._store.apis.list_narrowed(self._system.now())
        return sum(not names.isdisjoint(scopes) for scopes in narrowed)

    def list_grantable(self, user_id: int) -> list[ApiRecord]:
        """Return the APIs of which a user may hold scopes, with these alone.

        As the database has it now: what is remembered for verification may be of a moment ago.
        """
        with self._store.snapshot():
            rules, groups = self._store.apis.rules(), self._store.apis.groups_of(user_id)
        withheld = rules.withheld_from(groups)
        grantable = (
            replace(resource, scopes=tuple(scope for scope in resource.scopes if scope.name not in withheld))
            for resource in rules.resources
        )
        return [resource for resource in grantable if resource.scopes]

    def list_givable(self, principal: Principal, user_id: int) -> list[ApiRecord]:
        """Return of `list_grantable` what the caller may put into a key of this user."""
        with self._store.snapshot():
            grantable = self.list_grantable(user_id)
            if principal.may(Permission.USER_ADMIN):
                return grantable
            own = self._names_grantable(principal.user_id)
        givable = (
            replace(resource, scopes=tuple(scope for scope in resource.scopes if scope.name in own))
            for resource in grantable
        )
        return [resource for resource in givable if resource.scopes]

    def check_grantable(self, user_id: int, scopes: Sequence[str]) -> tuple[str, ...]:
        """Return the scopes of a new key, each once; raise `InvalidInput` for what its user may not hold."""
        known = self._names_grantable(user_id)
        for scope in scopes:
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

        `scopes` is None for all that the user may hold. Who may put anybody into any group may hold anything.
        What the caller may not hold is hidden from them: it is not named, and answered as what is not there.
        """
        if principal.may(Permission.USER_ADMIN):
            return
        with self._store.snapshot():
            covered, own = self._names_grantable(user_id), self._names_grantable(principal.user_id)
        if scopes is None and covered - own:
            raise InvalidInput(
                "scopes",
                "This user may hold scopes that you may not hold yourself: choose some that you may.",
            )
        for scope in sorted(scopes or ()):
            if scope not in covered & own:
                raise InvalidInput(
                    "scopes", f"There is no scope {_named(scope)} that this user and you yourself may hold."
                )

    def _names_grantable(self, user_id: int) -> frozenset[str]:
        return frozenset().union(*(resource.scope_names for resource in self.list_grantable(user_id)))

    def _check_free(self, fields: ApiFields, resource_id: int | None) -> None:
        """Say which field is taken. The database decides; it cannot say which."""
        if fields.identifier == self._own_identifier:
            raise InvalidInput("identifier", "This is the identifier of this installation itself.")
        for other in self.list_all():
            if other.resource_id == resource_id:
                continue
            if other.name == fields.name:
                raise InvalidInput("name", "There is a service with this name.", code="unique")
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


def _one_of(resources: Sequence[ApiRecord], resource_id: int) -> ApiRecord:
    for resource in resources:
        if resource.resource_id == resource_id:
            return resource
    raise NotFound
