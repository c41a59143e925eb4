"""Lists: a table that fits the terminal, lines of cells with tabs between them in a pipe, or JSON."""

import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import click

from keyturn.cli.output import print_json
from keyturn.cli.progress import SLOW_SECONDS, working
from keyturn.core.shown import shown
from keyturn.core.times import relative_time, wire_time

T = TypeVar("T")

GAP = "  "
MIN_WIDTH = 6
"""Of a column that gives way to the others, as long as there is room for so much."""
_BREAKS = re.compile(r"[\t\n\r\v\f]+")
"""They would begin another cell or line."""


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One fact of each listed thing: `title` heads it in the table, `name` names it in JSON.

    Without one of them it is left out there.
    """

    title: str | None
    name: str | None
    read: Callable[[T], Any]
    show: Callable[[Any], str] | None = None
    """The text of a value in the table. Usually: nothing for None, the words of a list."""
    missing: str = ""
    """The text of None for people; a pipe gets an empty cell."""
    is_flexible: bool = False
    """Whether it gives way where the terminal is too narrow."""


def print_list(
    things: Iterable[T], columns: Sequence[Column[T]], *, as_json: bool, if_none: str = "There are none."
) -> None:
    """Print a list; `if_none` tells people that it is empty."""
    with working("Reading the list…", after_seconds=SLOW_SECONDS):
        found = list(things)
    if as_json:
        print_json([as_object(thing, columns) for thing in found])
        return
    shown_columns = [column for column in columns if column.title is not None]
    if not sys.stdout.isatty():
        for thing in found:
            click.echo("\t".join(_piped(column, thing) for column in shown_columns))
        return
    if not found:
        click.echo(if_none, err=True)
        return
    now = datetime.now(UTC)
    rows = [[_read_by_people(column, thing, now) for column in shown_columns] for thing in found]
    flexible = [column.is_flexible for column in shown_columns]
    width = shutil.get_terminal_size().columns
    head, *lines = table_lines([str(column.title) for column in shown_columns], rows, flexible, width)
    click.secho(head, bold=True)
    for line in lines:
        click.echo(line)


def as_object(thing: T, columns: Sequence[Column[T]]) -> dict[str, Any]:
    """Return a thing as the object that JSON has of it."""
    return {
        column.name: wire_time(value) if isinstance(value := column.read(thing), datetime) else value
        for column in columns
        if column.name is not None
    }


def table_lines(
    titles: Sequence[str], rows: Sequence[Sequence[str]], flexible: Sequence[bool], width: int
) -> list[str]:
    """Return the lines of a table, none of them wider than `width` cells of a terminal.

    Flexible columns are cut first, the widest of them before the others.
    """
    # Here, for it knows how wide every script is, and most commands print no table.
    from rich.cells import cell_len, set_cell_size

    table = [titles, *rows]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    _narrow(widths, flexible, width - len(GAP) * (len(titles) - 1))

    def cell(text: str, size: int) -> str:
        if cell_len(text) <= size:
            return set_cell_size(text, size)
        return set_cell_size(text, size - 1) + "…" if size else ""

    return [GAP.join(map(cell, line, widths)).rstrip()[: max(width, 0)] for line in table]


def _narrow(widths: list[int], flexible: Sequence[bool], room: int) -> None:
    """Take from the widest column until all have room: first from those that are flexible."""
    for may_shrink, least in ((flexible, MIN_WIDTH), ([True] * len(widths), 1)):
        while sum(widths) > room:
            wide = [number for number, size in enumerate(widths) if may_shrink[number] and size > least]
            if not wide:
                break
            widths[max(wide, key=widths.__getitem__)] -= 1


def _piped(column: Column[T], thing: T) -> str:
    match column.read(thing):
        case None:
            return ""
        case datetime() as moment:
            return wire_time(moment)
        case value:
            return _in_one_line((column.show or _text)(value))


def _read_by_people(column: Column[T], thing: T, now: datetime) -> str:
    match column.read(thing):
        case None:
            return column.missing
        case datetime() as moment:
            return relative_time(moment, now)
        case value:
            return _in_one_line((column.show or _text)(value))


def _in_one_line(text: str) -> str:
    """Return a text that is one cell, and hides nothing."""
    return _BREAKS.sub(" ", shown(text))


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
