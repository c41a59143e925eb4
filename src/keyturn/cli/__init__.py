"""The command line."""

from keyturn.cli.main import main

__all__ = ["main"]
