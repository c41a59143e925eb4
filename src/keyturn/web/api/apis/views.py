"""The JSON shapes of registered APIs, which people are shown as services."""

import msgspec

from keyturn.core.apis import ApiRecord, ResourceScope
from keyturn.core.times import wire_time


class ServiceScopeView(msgspec.Struct, frozen=True):
    """A scope, and to administrators who may hold it."""

    name: str
    description: str | None
    groups: list[int] | msgspec.UnsetType | None = msgspec.UNSET
    """The groups whose members may hold it, null for everyone; left out for others than administrators."""

    @classmethod
    def of(cls, scope: ResourceScope, *, shows_holders: bool) -> "ServiceScopeView":
        """Show a record."""
        if not shows_holders:
            return cls(scope.name, scope.description)
        return cls(scope.name, scope.description, None if scope.is_for_everyone else sorted(scope.group_ids))


class ServiceView(msgspec.Struct, frozen=True, rename="camel"):
    """A registered API. Tokens for it say its identifier as `aud`."""

    id: int
    name: str
    identifier: str
    description: str | None
    scopes: list[ServiceScopeView]
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, record: ApiRecord, *, shows_holders: bool) -> "ServiceView":
        """Show a record."""
        return cls(
            id=record.resource_id,
            name=record.name,
            identifier=record.identifier,
            description=record.description,
            scopes=[ServiceScopeView.of(scope, shows_holders=shows_holders) for scope in record.scopes],
            created_at=wire_time(record.created_at),
            updated_at=wire_time(record.updated_at),
        )


class ServiceList(msgspec.Struct, frozen=True):
    """A page of the services that the caller may see; `count` is of all."""

    count: int
    hits: list[ServiceView]
