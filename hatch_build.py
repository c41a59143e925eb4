"""Builds the documentation into the package, from `docs/`, whenever the package is built or installed."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DocumentationHook(BuildHookInterface):  # type: ignore[type-arg]  # its argument is a name of hatchling's own
    """Makes the file that the server reads pages and answers from."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - as hatchling calls it
        """Build the file before the wheel, or before an installation that is edited."""
        root = Path(self.root)
        sys.path.insert(0, str(root / "src"))
        try:
            from keyturn.documentation.build.index import build  # noqa: PLC0415 - from the sources at hand
        finally:
            sys.path.pop(0)
        build(root / "docs", root / "src" / "keyturn" / "documentation" / "documentation.db")
        build_data["artifacts"].append("src/keyturn/documentation/documentation.db")
