"""Each requirement says from which version on, in one place that the others repeat."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement

from tests.floors.requirements import EXTRAS, ROOT, build_floors, floor_of, floors, read_pyproject

PROJECT = read_pyproject()["project"]
FOR_BUILDING = {"editables", "hatchling", "markdown-it-py", "mdit-py-plugins", "pygments"}


def test_every_extra_is_run_on_its_floors() -> None:
    """No extra of pyproject.toml is left out by `make floors`, and each has a smoke."""
    assert set(EXTRAS) == {"", *PROJECT["optional-dependencies"]}
    smokes = {path.stem for path in (ROOT / "tests" / "floors" / "smokes").glob("*.py")}
    assert smokes == {each or "plain" for each in EXTRAS}


def test_every_requirement_has_one_floor() -> None:
    """All of them, and what builds the package, say one oldest version, and no package is named twice."""
    names = [floor.partition("==")[0] for floor in floors()]
    assert len(set(names)) == len(names)
    of_commands = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cli"]]
    building = sorted(FOR_BUILDING - {"editables"}) + [Requirement(each).name for each in of_commands]
    assert [floor.partition("==")[0] for floor in build_floors()] == building
    hook = read_pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    assert (hook["require-runtime-dependencies"], hook["require-runtime-features"]) == (True, ["cli"])


@pytest.mark.parametrize(
    ("wanted", "floor"),
    [
        ("uvicorn>=0.53,<0.55", "uvicorn==0.53"),
        ("psycopg[binary]>=3.3.9", "psycopg==3.3.9"),
        ("keyturn[cli]", None),
    ],
)
def test_a_floor_is_the_oldest_version(wanted: str, floor: str | None) -> None:
    """A ceiling and an extra say nothing about it; Keyturn's own extras have none."""
    assert floor_of(wanted) == floor


@pytest.mark.parametrize("wanted", ["anyio", "anyio<5", "anyio>4", "anyio>=4,>=5"])
def test_what_has_no_floor_is_refused(wanted: str) -> None:
    """A requirement without one could be met by what nobody ran."""
    with pytest.raises(ValueError, match="from which version on"):
        floor_of(wanted)


def test_what_is_locked_is_what_is_declared() -> None:
    """requirements/server.in asks for what pyproject.toml asks for with its server, in the same words."""
    lines = (ROOT / "requirements" / "server.in").read_text().splitlines()
    locked = {line for line in lines if not line.startswith("#")}
    extras = PROJECT["optional-dependencies"]
    declared = {*PROJECT["dependencies"], *extras["cli"], *extras["server"]} - {"keyturn[cli]"}
    assert {line for line in locked if Requirement(line).name not in FOR_BUILDING} == declared
    assert {Requirement(line).name for line in locked} >= FOR_BUILDING
