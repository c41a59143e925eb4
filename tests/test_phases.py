"""Each test runs in exactly one phase of `make test`, and those of chosen databases are there."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.phases import FILES_THAT_WAIT, TESTS, WAITING, WORKING, phase_of
from tests.web.conftest import ON_BOTH_DATABASES

MAKEFILE = TESTS.parent / "Makefile"


def test_what_waits_is_there() -> None:
    """Each file and folder of the second phase exists: one that was renamed would change its phase unseen."""
    assert [path for path in FILES_THAT_WAIT if not path.exists()] == []


def test_make_runs_both_phases() -> None:
    """`make test` runs each phase once, and a file is in one of them."""
    lines = [line for line in MAKEFILE.read_text().splitlines() if "--phase=" in line]
    assert sorted(line.partition("--phase=")[2].split()[0] for line in lines) == [WAITING, WORKING]
    assert {phase_of(path) for path in TESTS.rglob("test_*.py")} == {WAITING, WORKING}


@pytest.mark.parametrize("module", ON_BOTH_DATABASES)
def test_what_is_chosen_for_both_databases_is_there(module: str) -> None:
    """Each test that is to run over PostgreSQL too exists under that name."""
    found = importlib.import_module(f"tests.web.{module}")
    assert Path(found.__file__ or "").exists()
    assert [name for name in ON_BOTH_DATABASES[module] if not hasattr(found, name)] == []
