"""The command line."""

import sys

__all__ = ["main"]

try:
    from keyturn.cli.main import main
except ModuleNotFoundError as error:
    if error.name != "click":
        raise

    def main() -> None:
        """Say what the command line needs, where only the library is installed."""
        sys.exit("keyturn: The command line needs a few more packages: run pip install 'keyturn[cli]'.")
