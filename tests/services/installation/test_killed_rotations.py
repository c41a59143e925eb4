"""S3: a rotation of the root key that is killed before any of its steps leaves every row readable."""

from __future__ import annotations

import itertools
import signal
from typing import TYPE_CHECKING

import pytest

from keyturn.composition import open_sealed, open_services
from keyturn.core.permissions import Permission
from keyturn.core.seals import head_of
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.store.installation.seals import SEALED_COLUMNS
from tests.databases import new_postgresql_database, new_sqlite_database
from tests.people import actions, holder
from tests.services.installation.test_root_key_rotation import new_world
from tests.store.peers import Peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.settings import Settings


@pytest.fixture
def peer() -> Iterator[Peer]:
    """Another process on this host."""
    process = Peer()
    try:
        yield process
    finally:
        process.end()


def root_keys_in_use(settings: Settings) -> set[bytes]:
    """Open every row, and return the heads of their seals."""
    with open_sealed(settings) as sealed:
        assert list(sealed.seals.find_broken()) == []
        rows = [sealed.store.seals.list_rows(column, size=100) for column in SEALED_COLUMNS]
    return {head_of(row.seal) for of_column in rows for row in of_column}


@pytest.mark.parametrize("kind", ["sqlite, own file", "sqlite", "postgresql"])
def test_no_kill_loses_a_row(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, root_key_file: Path, peer: Peer
) -> None:
    """Killed before each commit and each write of the file, at the end of a row of rotations all is there."""
    is_own = kind == "sqlite, own file"
    database = (
        new_postgresql_database(request.getfixturevalue("postgresql_server"))
        if kind == "postgresql"
        else new_sqlite_database(tmp_path / "data")
    )
    environment = {"KEYTURN_DATABASE": database} | (
        {} if is_own else {"KEYTURN_ROOT_KEY_FILE": str(root_key_file)}
    )
    settings = read_settings(environment)
    running = open_services(settings, hashing=CHEAPEST)
    file = tmp_path / "data" / "root.key" if is_own else root_key_file
    world = new_world(running, holder(running, "ada", *Permission), file)

    mixed = 0
    for step in itertools.count(1):
        if not is_own:
            world.put_first()
        before = world.lines()
        ended = peer.died(peer.rotate_root_key(environment, step))
        if ended == 0:
            break
        assert ended == signal.SIGKILL, step
        mixed += len(root_keys_in_use(settings)) == 2
        world.check_all_is_readable()
        open_services(settings, hashing=CHEAPEST).close()

        is_over = len(world.lines()) == 1 and world.lines() != before
        if not is_over:  # Else this would be a new rotation.
            assert peer.died(peer.rotate_root_key(environment, 0)) == 0, step
        if not is_own:
            world.keep_first()
        assert len(root_keys_in_use(settings)) == len(world.lines()) == 1, step
        world.check_all_is_readable()
        assert actions(running).count("RootKeyRotated") == step
    running.close()

    print(f"\n{kind}: {step - 1} kills, {mixed} of them with rows of two root keys")
    assert mixed > 1
    assert not list(file.parent.glob(".root.key*"))
