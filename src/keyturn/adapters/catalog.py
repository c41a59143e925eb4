"""Schemas, tables and columns as a crawl finds them: hostile text, cut, typed and never run (rule O7)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any

import msgspec

from keyturn.adapters.findings import Fault, Finding
from keyturn.adapters.limits import Limits


class Column(msgspec.Struct, frozen=True, array_like=True):
    """A column of a table or view."""

    name: str
    type: str
    """As the database writes it, such as `numeric(10,2)`."""
    comment: str | None = None


class Table(msgspec.Struct, frozen=True, array_like=True):
    """A table or view."""

    path: tuple[str, ...]
    """The names of the technology's hierarchy, the table's own last."""
    kind: str
    comment: str | None
    fingerprint: str
    """32 hexadecimal digits of all that the others say: equal if nothing of them changed."""
    columns: tuple[Column, ...] | None
    """In their order; None if the fingerprint was known before, so that they are as they were."""

    @property
    def objects(self) -> int:
        """How many objects this is, its columns among them."""
        return 1 + len(self.columns or ())


class Schema(msgspec.Struct, frozen=True, array_like=True):
    """Something that holds tables."""

    path: tuple[str, ...]
    comment: str | None = None


class Batch(msgspec.Struct, frozen=True, tag=True):
    """A part of a crawl, of bounded size."""

    schemas: tuple[Schema, ...] = ()
    tables: tuple[Table, ...] = ()

    @property
    def objects(self) -> int:
        """How many schemas, tables and columns were sent; those of unchanged tables are not."""
        return len(self.schemas) + sum(each.objects for each in self.tables)


def batches(found: Iterable[Schema | Table], limits: Limits) -> Iterator[Batch]:
    """Put all that is found into batches, cut to the limits; raise `Fault` beyond those of a crawl."""
    total = 0
    filling = _Filling()
    for each in found:
        cut = _cut_schema(each, limits) if isinstance(each, Schema) else _cut_table(each, limits)
        size, characters = (1, 100) if isinstance(cut, Schema) else (cut.objects, _characters(cut))
        total += size
        if total > limits.objects:
            raise Fault(Finding.TOO_LARGE, f"more than {limits.objects} objects")
        if filling.would_exceed(size, characters, limits):
            yield filling.take()
        filling.add(cut, size, characters)
    if filling.objects:
        yield filling.take()


@dataclass
class _Filling:
    schemas: list[Schema] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    objects: int = 0
    characters: int = 0

    def would_exceed(self, objects: int, characters: int, limits: Limits) -> bool:
        return self.objects > 0 and (
            self.objects + objects > limits.batch_objects
            or self.characters + characters > limits.batch_characters
        )

    def add(self, found: Schema | Table, objects: int, characters: int) -> None:
        if isinstance(found, Schema):
            self.schemas.append(found)
        else:
            self.tables.append(found)
        self.objects += objects
        self.characters += characters

    def take(self) -> Batch:
        batch = Batch(tuple(self.schemas), tuple(self.tables))
        self.schemas, self.tables, self.objects, self.characters = [], [], 0, 0
        return batch


def _characters(table: Table) -> int:
    columns = table.columns or ()
    return 100 + sum(len(each.name) + len(each.type) + len(each.comment or "") for each in columns)


def _cut_schema(schema: Schema, limits: Limits) -> Schema:
    return Schema(_cut_path(schema.path, limits), cut(schema.comment, limits.comment_characters))


def _cut_table(table: Table, limits: Limits) -> Table:
    columns = table.columns
    if columns is not None and len(columns) > limits.columns:
        raise Fault(Finding.TOO_LARGE, f"a table of {len(columns)} columns")
    name, comment = limits.name_characters, limits.comment_characters
    return Table(
        _cut_path(table.path, limits),
        table.kind[:name],
        cut(table.comment, comment),
        table.fingerprint[:32],
        None
        if columns is None
        else tuple(
            Column(each.name[:name], each.type[:name], cut(each.comment, comment)) for each in columns
        ),
    )


def _cut_path(path: tuple[str, ...], limits: Limits) -> tuple[str, ...]:
    return tuple(each[: limits.name_characters] for each in path)


def cut(text: str | None, length: int) -> str | None:
    """Return the beginning of a text; None for an empty one."""
    return text[:length] if text else None


_COLUMNS = msgspec.json.Decoder(tuple[Column, ...])


def read_columns(text: object) -> tuple[Column, ...] | None:
    """Read columns that the database wrote as JSON; raise `Fault` for what it never would have written."""
    if text is None:
        return None
    if not isinstance(text, str):
        raise Fault(Finding.OTHER_PROTOCOL, "columns are not a text")
    try:
        return _COLUMNS.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Fault(Finding.OTHER_PROTOCOL, f"columns: {error}") from None


def read_row(row: object, *types: type | tuple[type, ...]) -> tuple[Any, ...]:
    """Return a row of exactly these types; raise `Fault` for another, which a false server may send."""
    if not isinstance(row, (tuple, list)) or len(row) != len(types):
        raise Fault(Finding.OTHER_PROTOCOL, "a row of another width")
    for value, wanted in zip(row, types, strict=True):
        if not isinstance(value, wanted):
            raise Fault(Finding.OTHER_PROTOCOL, f"a value of type {type(value).__name__}")
    return tuple(row)


TEXT, MAYBE_TEXT = str, (str, type(None))


def tables_of_rows(rows: Iterable[object], prefix: tuple[str, ...], known: frozenset[str]) -> Iterator[Table]:
    """Gather tables of rows (schema, table, column, type, comment) that come table by table.

    Where the database has no cheap digest, the fingerprint is made here.
    """
    path: tuple[str, ...] = ()
    columns: list[Column] = []
    for row in rows:
        schema, table, name, type_, comment = read_row(row, TEXT, TEXT, TEXT, TEXT, MAYBE_TEXT)
        if (*prefix, schema, table) != path:
            if columns:
                yield _with_fingerprint(path, columns, known)
            path, columns = (*prefix, schema, table), []
        columns.append(Column(name, type_, comment))
    if columns:
        yield _with_fingerprint(path, columns, known)


def _with_fingerprint(path: tuple[str, ...], columns: list[Column], known: frozenset[str]) -> Table:
    made = md5(msgspec.json.encode((path, columns)), usedforsecurity=False).hexdigest()
    return Table(path, "table", None, made, None if made in known else tuple(columns))
