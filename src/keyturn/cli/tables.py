"""Tables for people: names as they are, and whole when they go into a pipe."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from keyturn.core.shown import shown

WIDTH_WITHOUT_TERMINAL = 1000


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their columns. Cells are text, never markup, and hide nothing."""
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL)
    console.print(table)
