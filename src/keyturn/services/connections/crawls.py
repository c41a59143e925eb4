"""A crawl: what is behind a connection now, beside what the last one found.

The database says of each table whether it knows it already, so a second crawl writes what has changed and
nothing else. Nobody sees any of it before the crawl has come to its end.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from keyturn.adapters.catalog import Batch, Schema, Table
from keyturn.adapters.technologies import BY_NAME
from keyturn.core.connections import FoundObject, KnownObject, ObjectPath, path_digest
from keyturn.store import Store


@dataclass
class Crawl:
    """One crawl of a connection, fed with what is found, batch by batch."""

    store: Store
    connection_id: int
    technology: str
    number: int
    known: Mapping[bytes, KnownObject]
    seen: set[bytes] = field(default_factory=set)
    replaced: list[int] = field(default_factory=list)
    added: int = 0
    changed: int = 0

    @property
    def done(self) -> int:
        """How many objects were found so far."""
        return len(self.seen)

    @property
    def known_fingerprints(self) -> list[str]:
        """The fingerprints of all that the last crawl found, as the process takes them."""
        return [one.fingerprint.hex() for one in self.known.values()]

    def take(self, found: Batch) -> None:
        """Store what is new or another than before."""
        levels = BY_NAME[self.technology].hierarchy
        to_add: list[FoundObject] = []
        for schema in found.schemas:
            self._take_parents(schema.path, levels, to_add)
            self._note(_of_schema(schema, levels), to_add)
        for table in found.tables:
            self._take_parents(table.path, levels, to_add)
            self._take_table(table, to_add)
        first = [self._first(one) for one in to_add]
        self.store.data_objects.add(self.connection_id, self.number, to_add, first)

    def finish(self, now: datetime) -> Mapping[str, int]:
        """Show what was found; return how much of it is new, and how much is no longer there."""
        vanished = [one.object_id for digest, one in self.known.items() if digest not in self.seen]
        self.store.data_objects.end([*self.replaced, *vanished], self.number)
        self.store.data_objects.finish(self.connection_id, self.number, now)
        return {
            "found": len(self.seen),
            "added": self.added,
            "changed": self.changed,
            "removed": len(vanished),
        }

    def _take_parents(self, path: ObjectPath, levels: tuple[str, ...], to_add: list[FoundObject]) -> None:
        for length in range(1, len(path)):
            parent = path[:length]
            if path_digest(parent) not in self.seen:
                self._note(_of_schema(Schema(parent), levels), to_add)

    def _take_table(self, table: Table, to_add: list[FoundObject]) -> None:
        digest = path_digest(table.path)
        fingerprint = bytes.fromhex(table.fingerprint)
        if table.columns is None:
            before = self.known.get(digest)
            if before is not None and before.fingerprint == fingerprint:
                self.seen.add(digest)
            return  # A table of this name was never seen: one that moved is found with its columns next time.
        columns = [(one.name, one.type, one.comment) for one in table.columns]
        self._note(FoundObject(table.path, table.kind, table.comment, fingerprint, columns), to_add)

    def _note(self, found: FoundObject, to_add: list[FoundObject]) -> None:
        digest = path_digest(found.path)
        before = self.known.get(digest)
        if digest in self.seen:
            return
        self.seen.add(digest)
        if before is None:
            self.added += 1
        elif before.fingerprint != found.fingerprint:
            self.changed += 1
            self.replaced.append(before.object_id)
        else:
            return
        to_add.append(found)

    def _first(self, found: FoundObject) -> int:
        before = self.known.get(path_digest(found.path))
        return self.number if before is None else before.first


def _of_schema(schema: Schema, levels: tuple[str, ...]) -> FoundObject:
    kind = levels[min(len(schema.path), len(levels)) - 1]
    told = msgspec.json.encode([schema.path, kind, schema.comment])
    return FoundObject(schema.path, kind, schema.comment, hashlib.md5(told, usedforsecurity=False).digest())
