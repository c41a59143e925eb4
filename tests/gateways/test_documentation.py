"""The table of gateways says what is run, and against which versions."""

from __future__ import annotations

import re

import pytest

from tests.gateways.gateways import DOCUMENTED, KINDS, Kind, installed_version

PAGE = DOCUMENTED / "README.md"
ROWS = {
    row[0]: row
    for row in re.findall(r"^\| (\w+) \| ([\w. ]+) \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
}


def test_every_gateway_has_its_row() -> None:
    """The table names what the tests run, and nothing else."""
    assert set(ROWS) == {*KINDS, "Gateway"}


def test_every_configuration_is_in_the_table() -> None:
    """Each file to copy is linked, and each link is a file."""
    linked = set(re.findall(r"\(([\w.-]+)\)", "".join(row[2] for row in ROWS.values())))
    assert linked == {path.name for path in DOCUMENTED.iterdir()} - {PAGE.name}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_version_that_runs_is_the_one_that_is_said(kind: Kind) -> None:
    """The tests run the version that the table tells of."""
    said, installed = ROWS[kind.name][1], installed_version(kind)
    if said != installed:
        pytest.skip(f"{kind.name} {installed} is installed; what is said of {said} is not tried here")
    assert set(kind.files) == set(re.findall(r"\(([\w.-]+)\)", ROWS[kind.name][2]))
