"""Builds what the package has beside its modules, whenever it is built or installed.

The documentation comes from `docs/`; manual pages and completion come from the commands.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPLETIONS = {
    "bash": "share/bash-completion/completions/keyturn",
    "zsh": "share/zsh/site-functions/_keyturn",
    "fish": "share/fish/vendor_completions.d/keyturn.fish",
}
"""Where each shell reads them, below the folder that the wheel is installed into."""


class PackageHook(BuildHookInterface):  # type: ignore[type-arg]  # its argument is a name of hatchling's own
    """Makes the file that the server reads pages and answers from, and what shells and `man` read."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - as hatchling calls it
        """Build the files before the wheel, or before an installation that is edited."""
        root = Path(self.root)
        self._made = Path(tempfile.mkdtemp(prefix="keyturn-build-"))
        with _sources(root):
            from keyturn.documentation.build.index import build  # noqa: PLC0415 - from the sources at hand

            build(root / "docs", root / "src" / "keyturn" / "documentation" / "documentation.db")
            shared = _shared_files()
        build_data["artifacts"].append("src/keyturn/documentation/documentation.db")
        for number, (place, text) in enumerate(shared.items()):
            file = self._made / str(number)
            file.write_text(text, encoding="utf-8")
            build_data["shared_data"][str(file)] = place

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - as above
        """Remove the files that are in the wheel now."""
        shutil.rmtree(self._made)


@contextmanager
def _sources(root: Path) -> Iterator[None]:
    """Import Keyturn from the sources at hand in this block."""
    sys.path.insert(0, str(root / "src"))
    try:
        yield
    finally:
        sys.path.pop(0)


def _shared_files() -> dict[str, str]:
    """Return the files for `man` and the shells, by their places."""
    from keyturn.cli.completion import completion_script  # noqa: PLC0415 - from the sources at hand
    from keyturn.cli.main import cli  # noqa: PLC0415 - as above
    from keyturn.cli.manual import manual_pages  # noqa: PLC0415 - as above

    # As reproducible builds give the time (reproducible-builds.org/specs/source-date-epoch).
    day = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())), UTC).date()
    pages = {f"share/man/man1/{name}": text for name, text in manual_pages(day).items()}
    return pages | {place: completion_script(cli, shell) for shell, place in COMPLETIONS.items()}
