"""What the run stands on: the tools of the machine, `.venv-bench`, and node's packages.

Made when missing, and again when what they are pinned to has changed.
"""

import hashlib
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.errors import NotMeasured
from bench.servers import ROOT, run_command

TOOLS = {"wrk": "wrk", "taskset": "util-linux"}
"""Without these there is no run at all; the value is the Debian package."""
CORES_NEEDED = 2

KEYTURN = str(Path(sys.executable).with_name("keyturn"))
REQUIREMENTS = ROOT / "requirements" / "bench.txt"
VIRTUAL_ENVIRONMENT = ROOT / ".venv-bench"
NODE_PACKAGES = ROOT / "bench" / "peers" / "node"


@dataclass(frozen=True, slots=True)
class MissingTool:
    """A tool that is not on the path."""

    name: str
    package: str

    def __str__(self) -> str:
        return f"{self.name} is missing: apt-get install {self.package}"


def missing_tools() -> list[MissingTool]:
    """Return the tools without which nothing can be measured."""
    return [MissingTool(name, package) for name, package in TOOLS.items() if shutil.which(name) is None]


@cache
def peers_python() -> str:
    """Return the Python of `.venv-bench`, made if need be; raise `NotMeasured` if it cannot be."""
    python = VIRTUAL_ENVIRONMENT / "bin" / "python"
    stamp = VIRTUAL_ENVIRONMENT / ".requirements"
    if _is_made(stamp, REQUIREMENTS):
        return str(python)
    shutil.rmtree(VIRTUAL_ENVIRONMENT, ignore_errors=True)
    run_command(sys.executable, "-m", "venv", str(VIRTUAL_ENVIRONMENT))
    install = ("install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--requirement")
    run_command(str(python), "-m", "pip", *install, str(REQUIREMENTS))
    stamp.write_text(_digest(REQUIREMENTS))
    return str(python)


@cache
def node() -> str:
    """Return the node that runs its peers, their packages installed; raise `NotMeasured` if there is none."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        raise NotMeasured("node and npm are missing: apt-get install nodejs npm")
    lock = NODE_PACKAGES / "package-lock.json"
    stamp = NODE_PACKAGES / "node_modules" / ".lock"
    if not _is_made(stamp, lock):
        run_command(npm, "ci", "--no-audit", "--no-fund", "--prefix", str(NODE_PACKAGES))
        stamp.write_text(_digest(lock))
    return found


def _is_made(stamp: Path, pinned_by: Path) -> bool:
    """Return whether what `stamp` lies in was made from this version of the file that pins it."""
    return stamp.exists() and stamp.read_text() == _digest(pinned_by)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
