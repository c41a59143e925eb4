"""Lists: as a table for people, whole when it goes into a pipe, and as JSON for scripts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from keyturn.cli.output import print_json
from keyturn.core.shown import shown
from keyturn.core.times import readable_time, wire_time

T = TypeVar("T")

WIDTH_WITHOUT_TERMINAL = 1000


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One fact of each listed thing: `title` heads it in the table, `name` names it in JSON.

    Without one of them it is left out there.
    """

    title: str | None
    name: str | None
    read: Callable[[T], Any]
    show: Callable[[Any], str] | None = None
    """The text of a value in the table. Usually: nothing for None, the words of a list, a time to read."""


def never_without(moment: datetime | None) -> str:
    """Return a time for people, `never` without one."""
    return "never" if moment is None else readable_time(moment)


def print_list(things: Iterable[T], columns: Sequence[Column[T]], *, as_json: bool) -> None:
    """Print what is listed, as a table or as a JSON array of objects."""
    if as_json:
        named = [column for column in columns if column.name is not None]
        print_json([{column.name: _as_json(column.read(thing)) for column in named} for thing in things])
        return
    titled = {column.title: column for column in columns if column.title is not None}
    print_table(
        [*titled],
        [[(column.show or _as_text)(column.read(thing)) for column in titled.values()] for thing in things],
    )


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their columns. Cells are text, never markup, and hide nothing."""
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL)
    console.print(table)


def _as_json(value: Any) -> Any:
    return wire_time(value) if isinstance(value, datetime) else value


def _as_text(value: Any) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return readable_time(value)
        case list():
            return " ".join(map(str, value))
        case _:
            return str(value)
