"""The bodies of requests about connections (http-api/connections.md, "Connections")."""

from typing import Annotated, Any, Literal

import msgspec

from keyturn.core.connections import ConnectionState, ObjectRole, RoleHolder
from keyturn.core.records import MAX_ID
from keyturn.errors import InvalidInput
from keyturn.services.connections.registry import MAX_HOURS, ChangedConnection
from keyturn.services.connections.settings import MAX_HOLDERS, ChangedSettings

Hours = Annotated[int, msgspec.Meta(ge=1, le=MAX_HOURS)]
Id = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
ConnectionKey = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Values = dict[str, Any]


class HolderBody(msgspec.Struct, forbid_unknown_fields=True):
    """A user or a group that has a role."""

    type: Literal["user", "group"]
    id: Id

    def holder(self) -> RoleHolder:
        """Return it as the services take it."""
        return RoleHolder(user_id=self.id) if self.type == "user" else RoleHolder(group_id=self.id)


Holders = Annotated[list[HolderBody], msgspec.Meta(max_length=MAX_HOLDERS)]


class SettingsBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Settings of an object. Null makes the object inherit; omit what stays as it is."""

    is_active: bool | msgspec.UnsetType | None = msgspec.UNSET
    activate_new_children: bool | msgspec.UnsetType | None = msgspec.UNSET
    data_owners: Holders | msgspec.UnsetType | None = msgspec.UNSET
    infrastructure_admins: Holders | msgspec.UnsetType | None = msgspec.UNSET

    def changes(self) -> ChangedSettings:
        """Return what is to change."""
        roles = {
            ObjectRole.DATA_OWNER: self.data_owners,
            ObjectRole.INFRASTRUCTURE_ADMIN: self.infrastructure_admins,
        }
        flags = {"isActive": self.is_active, "activateNewChildren": self.activate_new_children}
        inherits = [name for name, value in flags.items() if value is None]
        inherits += [role.value for role, holders in roles.items() if holders is None]
        return ChangedSettings(
            is_active=_given(self.is_active),
            activates_new_children=_given(self.activate_new_children),
            roles={
                role: frozenset(one.holder() for one in holders)
                for role, holders in roles.items()
                if isinstance(holders, list)
            },
            inherits=inherits,
        )


def _given(flag: bool | msgspec.UnsetType | None) -> bool | None:
    return None if flag is msgspec.UNSET else flag


class OptionsBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Options of a registration."""

    force_recursive_crawl: bool = False


class NativeIntegrationBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The integration of the vendor's product: kept, and without an effect here."""

    type: Annotated[str, msgspec.Meta(max_length=64, pattern="^[A-Za-z0-9 _-]+$")]
    auto_bootstrap: bool | None = None
    config: Values | None = None
    unity_catalog: bool | None = None

    def stored(self) -> dict[str, Any]:
        """Return what was given of it, as it is kept."""
        given: dict[str, Any] = msgspec.to_builtins(self)
        return {name: value for name, value in given.items() if value is not None}


class NewConnectionBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A connection to register."""

    connection_key: ConnectionKey
    connection: Values
    settings: SettingsBody | None = None
    options: OptionsBody | None = None
    native_integration: NativeIntegrationBody | None = None
    crawl_every_hours: Hours | None = None


class ConnectionChangesBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A connection as it is to be. Secrets that are omitted stay as they are."""

    connection: Values | None = None
    native_integration: NativeIntegrationBody | None = None
    crawl_every_hours: Hours | msgspec.UnsetType | None = msgspec.UNSET

    def changes(self) -> ChangedConnection:
        """Return what is to change."""
        has_schedule = self.crawl_every_hours is not msgspec.UNSET
        return ChangedConnection(
            self.connection or {},
            replaces=self.connection is not None,
            crawl_every_hours=None if self.crawl_every_hours is msgspec.UNSET else self.crawl_every_hours,
            changes_schedule=has_schedule,
            native_integration=None if self.native_integration is None else self.native_integration.stored(),
        )


class ClientConfigurationBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The preview's change of a connection. `[REDACTED]` stands for a secret that stays as it is."""

    client_configuration: Values

    def changes(self) -> ChangedConnection:
        """Return what is to change, with the credential's fields beside the others."""
        values = dict(self.client_configuration)
        credential = values.pop("credential", {})
        if not isinstance(credential, dict):
            raise InvalidInput("clientConfiguration.credential", "The field credential must be an object.")
        return ChangedConnection({**values, **credential})


class SearchBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A search below a path. Without a text it lists the objects directly below.

    `state` chooses from a list of connections alone.
    """

    search_text: Annotated[str, msgspec.Meta(max_length=254)] | None = None
    state: ConnectionState | None = None
    offset: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    size: Annotated[int, msgspec.Meta(ge=1, le=200)] = 25


class SettingsOfObjectBody(msgspec.Struct, forbid_unknown_fields=True):
    """The settings of an object to change."""

    settings: SettingsBody


class JobsBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Jobs to look at, perhaps until they have ended."""

    job_ids: Annotated[list[Annotated[str, msgspec.Meta(max_length=36)]], msgspec.Meta(max_length=200)]
    wait: Annotated[float, msgspec.Meta(ge=-1)] = 0
    poll_interval: Annotated[float, msgspec.Meta(ge=1)] = 1
