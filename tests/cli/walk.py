"""Every command of the program, as click has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keyturn.cli.command import walk
from keyturn.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator


def contexts() -> Iterator[click.Context]:
    """Yield the context of the program, and of each group and command below it."""
    return walk(cli.context_class(cli, info_name="keyturn", **cli.context_settings))


def commands() -> Iterator[click.Context]:
    """Yield the contexts of the commands alone."""
    return (context for context in contexts() if not isinstance(context.command, click.Group))
