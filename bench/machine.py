"""What a run was made on: enough to repeat it, and nothing that names the machine or its places."""

import json
import os
import platform
import re
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from bench.environments import NODE_PACKAGES, node, peers_python
from bench.errors import NotMeasured
from bench.servers import run_command

SERVED_BY = ("httptools", "uvicorn", "uvloop")
"""What both environments must have in the same version for ratios to mean anything."""
_LIST_PACKAGES = (
    "import importlib.metadata as m, json; "
    "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
)


def describe_machine() -> dict[str, Any]:
    """Return the processor, the kernel, and the versions of everything measured."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "wrk": _wrk_version(),
        "packages": {
            "keyturn": {d.metadata["Name"]: d.version for d in distributions()},
            "python peers": _peer_packages(),
            "node peers": _node_packages(),
        },
    }


def differing_ground(machine: dict[str, Any]) -> list[str]:
    """Return the packages under both Keyturn and its Python peers that differ in version."""
    ours, theirs = machine["packages"]["keyturn"], machine["packages"]["python peers"]
    return [name for name in SERVED_BY if theirs and ours.get(name) != theirs.get(name)]


def _processor() -> str:
    """Return the processor's model, as Linux names it."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def _wrk_version() -> str:
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    return " ".join((said.stdout + said.stderr).split()[1:2])


def _peer_packages() -> dict[str, str]:
    try:
        listed: dict[str, str] = json.loads(run_command(peers_python(), "-c", _LIST_PACKAGES))
    except NotMeasured:
        return {}
    return listed


def _node_packages() -> dict[str, str]:
    try:
        version = run_command(node(), "--version").strip()
    except NotMeasured:
        return {}
    wanted = json.loads((NODE_PACKAGES / "package.json").read_text())
    packages = wanted["dependencies"] | wanted["optionalDependencies"]
    return {"node": version, **packages}
