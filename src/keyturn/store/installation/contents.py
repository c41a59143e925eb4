"""The contents of a copy of the database, as a backup tells them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from keyturn.store.installation.seals import SealedRow

OnProgress = Callable[[int, int], None]
"""Is told how much is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that is compared of a copy and of the database that it was made of."""

    schema: str
    revision: int
    counts: dict[str, int]
    """The rows of each table."""
    seals: tuple[SealedRow, ...] = field(default=(), repr=False, compare=False)
    """Everything that is encrypted; read from a copy alone."""
