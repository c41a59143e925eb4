"""Progress of a command that works for long: on standard error, and only on a terminal."""

from contextlib import AbstractContextManager, nullcontext

from rich.console import Console


def working(text: str) -> AbstractContextManager[object]:
    """Show `text`, with something that moves, until the block ends."""
    console = Console(stderr=True)
    return console.status(text) if console.is_terminal else nullcontext()
