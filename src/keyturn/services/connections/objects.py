"""The objects behind connections: browsing and searching those that the last crawl found."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from keyturn.core.connections import (
    ConnectionRecord,
    ConnectionState,
    DataObject,
    ObjectPath,
    ObjectRole,
    RoleHolder,
)
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.principal import Principal
from keyturn.errors import InvalidInput, NotFound
from keyturn.services.connections.access import MANAGERS, Access
from keyturn.services.connections.registry import Connections
from keyturn.services.connections.settings import ChangedSettings, Inherited, Settings
from keyturn.services.text import is_storable
from keyturn.store import Store
from keyturn.verifying.origin import Origin

MAX_SEARCHED = 200
"""In so many connections a search looks at most."""
ONLY_CONNECTIONS = "Leave this out: it chooses from a list of connections alone."


@dataclass(frozen=True, slots=True)
class Location:
    """A connection, or an object behind it."""

    connection: ConnectionRecord
    path: ObjectPath
    found: DataObject | None
    """None for the connection itself."""
    settings: Inherited


class Objects:
    """The objects behind the connections that the caller sees."""

    def __init__(self, store: Store, registry: Connections, settings: Settings, access: Access) -> None:
        self._store = store
        self._registry = registry
        self._settings = settings
        self._access = access

    def get(self, principal: Principal, names: ObjectPath) -> Location:
        """Return what is at these names, of which the first is the key of a connection."""
        if not names:
            raise NotFound("There is no such object.")
        record, path = self._registry.get_now(principal, names[0]), names[1:]
        if not path:
            return Location(record, (), None, self._settings.of_connection(record))
        found = self._store.data_objects.find(record.connection_id, path) if is_storable(*path) else None
        if found is None:
            raise NotFound("There is no such object.")
        (settings,) = self._settings.of(record, [found])
        return Location(record, path, found, settings)

    def children(
        self,
        principal: Principal,
        names: ObjectPath,
        *,
        state: ConnectionState | None = None,
        offset: int = 0,
        size: int = MAX_PAGE,
    ) -> Page[Location]:
        """Return what is directly below these names, by name.

        Below none are the connections, of one state or of all.
        """
        if not names:
            records = self._registry.search(principal, state=state, offset=offset, size=size)
            places = (Location(one, (), None, self._settings.of_connection(one)) for one in records)
            return Page(records.count, tuple(places))
        if state is not None:
            raise InvalidInput("state", ONLY_CONNECTIONS)
        place = self.get(principal, names)
        record = place.connection
        found = self._store.data_objects.children(record.connection_id, place.path, offset=offset, size=size)
        return Page(found.count, tuple(self._places(record, found)))

    def search(
        self, principal: Principal, names: ObjectPath, text: str, *, offset: int = 0, size: int = MAX_PAGE
    ) -> Page[Location]:
        """Return the objects of whose name a text is a part: of one connection, or of all that are seen."""
        if len(names) > 1:
            raise InvalidInput("objectPath", "Search a connection, or all of them.")
        if not text.strip() or not is_storable(text):
            raise InvalidInput("searchText", "Enter a part of a name.")
        if names:
            records: tuple[ConnectionRecord, ...] = (self._registry.get_now(principal, names[0]),)
        else:
            records = self._registry.search(principal, size=MAX_SEARCHED).items
        by_id = {one.connection_id: one for one in records}
        found = self._store.data_objects.search(by_id, text.strip(), offset=offset, size=size)
        places = [place for one in found for place in self._places(by_id[one.connection_id], Page(1, (one,)))]
        return Page(found.count, tuple(places))

    def columns(self, place: Location) -> list[tuple[str, str, str | None]]:
        """Return the columns of a table, in their order: name, type and comment; none for anything else."""
        return [] if place.found is None else self._store.data_objects.columns(place.found.object_id)

    def names_of(self, holders: Iterable[RoleHolder]) -> dict[RoleHolder, str]:
        """Return the names of these users and groups, which the caller was told of as holders of roles."""
        return self._settings.names_of(holders)

    def owners(self, record: ConnectionRecord) -> frozenset[RoleHolder]:
        """Return who owns all that is behind a connection, which the caller was given."""
        return self._settings.of_connection(record).roles[ObjectRole.DATA_OWNER]

    def count_overrides(self, place: Location) -> Mapping[str, int]:
        """Return how many objects below a place say something of each setting."""
        return self._settings.count_overrides(place.connection, place.path)

    def check_settings(self, principal: Principal, wanted: ChangedSettings) -> None:
        """Raise what `change_settings` would raise of a connection that APPLICATION_ADMIN registers."""
        principal.check_may(*MANAGERS)
        self._settings.check(wanted)

    def change_settings(
        self, principal: Principal, names: ObjectPath, wanted: ChangedSettings, origin: Origin
    ) -> Location:
        """Say something else of an object, for whoever owns it; roles are given by whoever manages it."""
        place = self.get(principal, names)
        self._access.check_owns(principal, place.connection, place.path)
        self._settings.change(
            principal,
            place.connection,
            place.path,
            wanted,
            origin,
            may_give_roles=self._access.manages(principal, place.connection, place.path),
        )
        return self.get(principal, names)

    def _places(self, record: ConnectionRecord, found: Page[DataObject]) -> list[Location]:
        settings = self._settings.of(record, found)
        return [Location(record, one.path, one, said) for one, said in zip(found, settings, strict=True)]
