"""The floors: the oldest version of each package that pyproject.toml allows."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
EXTRAS = ("", "cli", "keyring", "mariadb", "snowflake", "telemetry", "server")
"""Those of pyproject.toml, and `pip install keyturn` without any."""


def read_pyproject() -> dict[str, object]:
    """Return what pyproject.toml says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def floor_of(requirement: str) -> str | None:
    """Return the requirement of exactly the oldest version; None for an extra of our own.

    Raise `ValueError` for one without a floor.
    """
    wanted = Requirement(requirement)
    if wanted.name == "keyturn":
        return None
    floors = [each.version for each in wanted.specifier if each.operator == ">="]
    if len(floors) != 1:
        raise ValueError(f"{requirement} does not say from which version on: write one >=")
    return f"{wanted.name}=={floors[0]}"


def floors() -> list[str]:
    """Return the floors of all that Keyturn needs, with any extra."""
    project = read_pyproject()["project"]
    wanted = [*project["dependencies"]]
    for extra in EXTRAS[1:]:
        wanted += project["optional-dependencies"][extra]
    return [floor for each in wanted if (floor := floor_of(each)) is not None]


def build_floors() -> list[str]:
    """Return the floors of what builds the package: manual pages are made from the commands for callers."""
    read = read_pyproject()
    project = read["project"]
    commands = [*project["dependencies"], *project["optional-dependencies"]["cli"]]
    wanted = [*read["build-system"]["requires"], *commands]
    return [floor for each in wanted if (floor := floor_of(each)) is not None]
