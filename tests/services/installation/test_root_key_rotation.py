"""The rotation of the root key: beside servers, by one at a time, and never losing a row (S1, S3)."""

from __future__ import annotations

import itertools
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from keyturn.composition import Sealed, open_sealed, open_services
from keyturn.core.encoding import base64url_encode
from keyturn.errors import CannotStart, Conflict, InvalidState, TooBusy
from keyturn.services.installation.root_key_rotation import BrokenSeal, Rotated
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.store.installation.seals import SEALED_COLUMNS
from keyturn.verifying.origin import COMMAND_LINE
from tests.people import HERE, actions, last_rows
from tests.store.crowds import all_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from keyturn.composition import Services
    from keyturn.core.principal import Principal
    from tests.conftest import Opener

NAMES = ("a", "b", "c", "d/e", "f")
"""System keys; one has what separates the parts of a slot in its name."""


def nothing(_done: int, _of: int) -> None:
    """Show no progress."""


def a_line() -> str:
    return base64url_encode(os.urandom(32)).decode() + "\n"


class Chance:
    """The randomness of the machine, which has something happen before it is asked for the nth time."""

    def __init__(self, moment: int, act: Callable[[], object]) -> None:
        self._left = moment
        self._act = act

    @property
    def has_come(self) -> bool:
        return self._left <= 0

    def __call__(self, count: int) -> bytes:
        self._left -= 1
        if self._left == 0:
            self._act()
        return os.urandom(count)


@dataclass
class World:
    """A server that runs, with a root key file that its operator writes."""

    services: Services
    admin: Principal
    file: Path
    secrets: dict[str, str]

    def lines(self) -> list[str]:
        return self.file.read_text().split()

    def put_first(self, line: str | None = None) -> None:
        """Put a new root key first, as an operator does."""
        draft = self.file.with_name("draft")
        draft.write_text((line or a_line()) + self.file.read_text())
        draft.chmod(0o600)
        draft.replace(self.file)

    def keep_first(self) -> None:
        self.file.write_text(self.lines()[0] + "\n")

    def reveal(self, name: str, node: Services | None = None) -> str:
        return (
            (node or self.services)
            .system_keys.get_or_create(
                self.admin, HERE, name=name, scopes=["plugin:trino"], connection_key="one", regenerate=False
            )
            .secret
        )

    @contextmanager
    def sealed(self, file: Path | None = None) -> Iterator[Sealed]:
        """Open everything that is encrypted, as a command does on this node or, with `file`, on another."""
        settings = read_settings(
            {"KEYTURN_DATABASE": self.services.settings.database}, root_key_file=file or self.file
        )
        with open_sealed(settings, self.services.system, batch=2) as sealed:
            yield sealed

    def rotate(self, on_progress: Callable[[int, int], None] = nothing, file: Path | None = None) -> Rotated:
        with self.sealed(file) as sealed:
            return sealed.rotation.run(COMMAND_LINE, on_progress)

    def broken(self) -> list[BrokenSeal]:
        with self.sealed() as sealed:
            return list(sealed.seals.find_broken())

    def execute(self, statement: str, **values: object) -> None:
        with self.services.store._database.writing() as connection:
            connection.execute(text(statement), values)

    def swap(self, one: str, other: str) -> None:
        """Let two system keys have each other's secret."""
        seals = {name: self.services.store.system_keys.find_by_name(name) for name in (one, other)}
        for name, of in ((one, seals[other]), (other, seals[one])):
            assert of is not None
            self.execute(
                "UPDATE system_key SET sealed_secret = :seal WHERE name = :name",
                seal=of.sealed_secret,
                name=name,
            )

    def check_all_is_readable(self) -> None:
        """The server that runs, and one that starts now, read everything."""
        assert self.broken() == []
        assert {name: self.reveal(name) for name in NAMES} == self.secrets
        self.services.signing_keys.forget()
        assert self.services.signing_keys.ring.signing


@pytest.fixture
def world(services: Services, admin: Principal, root_key_file: Path) -> World:
    return new_world(services, admin, root_key_file)


def new_world(services: Services, admin: Principal, file: Path) -> World:
    services.connections.register(COMMAND_LINE, admin.user_id, "one", {"technology": "Trino"})
    world = World(services, admin, file, {})
    world.secrets = {name: world.reveal(name) for name in NAMES}
    return world


def test_everything_is_under_the_new_root_key(world: World, reopen: Opener) -> None:
    """After a rotation no row needs the former root key, and servers go on without a restart."""
    former = world.lines()
    world.put_first()
    before = len(actions(world.services))

    rotated = world.rotate()

    assert (rotated.renewed, rotated.broken, rotated.former_needed) == (len(NAMES) + 1, (), False)
    assert [row.action for row in last_rows(world.services, before)] == ["RootKeyRotated"]
    assert len(world.lines()) == 2, "the file is the operator's"
    world.keep_first()
    world.check_all_is_readable()
    reopen()
    world.file.write_text("\n".join(former))
    with pytest.raises(CannotStart, match="does not belong"):
        reopen()


def test_a_server_opens_rows_at_every_moment_of_a_rotation(world: World) -> None:
    """After each batch the running server, which was started before, and a new one read every row (S3)."""
    world.put_first()
    seen = []

    def look(done: int, of: int) -> None:
        seen.append((done, of))
        world.check_all_is_readable()

    world.rotate(look)

    assert seen == [(1, 6), (3, 6), (5, 6), (6, 6)]


def test_what_is_made_meanwhile_is_under_the_new_root_key(world: World) -> None:
    """A server that makes keys during a rotation makes them under the new root key."""
    world.put_first()
    world.rotate(
        lambda done, _of: world.reveal(f"new {done}") and world.services.signing_keys.rotate(COMMAND_LINE)
    )
    world.keep_first()

    assert world.broken() == []
    with world.sealed() as sealed:
        rows = [sealed.store.seals.list_rows(column, size=100) for column in SEALED_COLUMNS]
        assert len({row.seal[:9] for of_column in rows for row in of_column}) == 1


def test_nothing_is_stored_under_the_former_root_key(world: World) -> None:
    """A rotation begins at whatever moment of the making of a key: it is refused then, or renewed (S3)."""
    outcomes = []
    for moment in itertools.count(1):
        chance = Chance(moment, world.rotate)
        system = replace(world.services.system, random_bytes=chance)
        node = open_services(world.services.settings, system, hashing=CHEAPEST)
        world.put_first()
        try:
            outcomes.append(bool(world.reveal(f"late {moment}", node)))
        except TooBusy:
            outcomes.append(False)
            assert node.store.system_keys.find_by_name(f"late {moment}") is None
        node.close()
        if not chance.has_come:
            break
        world.keep_first()
        assert world.broken() == []
        assert world.reveal(f"late {moment}")
    assert set(outcomes) == {True, False}


def test_without_a_new_root_key_nothing_is_rotated(world: World) -> None:
    """Where the operator gives the root keys, the command says what to give, and changes nothing."""
    before = world.services.store.installation.revision()

    with pytest.raises(InvalidState, match="put a new one on a line before it"):
        world.rotate()

    assert world.services.store.installation.revision() == before


def test_a_second_run_finds_nothing_to_do(world: World) -> None:
    """A rotation that is over may be run again, as after an interruption: it says so, without an event."""
    world.put_first()
    world.rotate()
    before = world.services.store.installation.revision()

    again = world.rotate()

    assert (again.renewed, again.broken, again.former_needed) == (0, (), False)
    assert world.services.store.installation.revision() == before


# Broken rows


def test_two_ciphertexts_that_were_swapped_fail_closed(world: World) -> None:
    """Two rows with each other's secret both refuse it, are both named, and all others go on (S1)."""
    world.swap("a", "d/e")

    for name in ("a", "d/e"):
        with pytest.raises(InvalidState, match="regenerate"):
            world.reveal(name)
    assert [(one.table, one.row) for one in world.broken()] == [("system_key", "a"), ("system_key", "d/e")]
    assert all("moved from another row" in str(one) for one in world.broken())
    assert world.reveal("b") == world.secrets["b"]


def test_a_broken_row_does_not_stop_a_rotation(world: World) -> None:
    """The other rows are renewed; the former root key is needed until the row is repaired (S3)."""
    world.put_first()
    world.swap("a", "b")

    rotated = world.rotate()

    assert [one.row for one in rotated.broken] == ["a", "b"]
    assert (rotated.renewed, rotated.former_needed) == (len(NAMES) - 1, True)
    world.swap("a", "b")
    again = world.rotate()
    assert (again.renewed, again.broken, again.former_needed) == (2, (), False)
    world.keep_first()
    world.check_all_is_readable()


def test_a_row_of_a_root_key_that_was_removed_early_is_named(world: World) -> None:
    """A former root key that left the file too early comes back as a line, and everything opens again."""
    (former,) = world.lines()
    row = world.services.store.system_keys.find_by_name("a")
    assert row is not None
    world.put_first()
    world.rotate()
    world.execute("UPDATE system_key SET sealed_secret = :seal WHERE name = 'a'", seal=row.sealed_secret)
    world.keep_first()

    (broken,) = world.broken()
    assert (broken.row, "not given" in broken.reason) == ("a", True)
    world.file.write_text(f"{world.lines()[0]}\n{former}\n")
    assert world.rotate().renewed == 1
    world.keep_first()
    world.check_all_is_readable()


# Two at once


def other_file(world: World, *lines: str) -> Path:
    """The root key file of another node."""
    file = world.file.with_name("other.key")
    file.write_text("\n".join(lines))
    file.chmod(0o600)
    return file


def test_another_node_with_the_same_root_keys_helps(world: World) -> None:
    """A second rotation to the same root key does what is left, and both end well with one event."""
    world.put_first()
    other = other_file(world, *world.lines())
    helped = []

    first = world.rotate(lambda done, _of: helped.append(world.rotate(file=other)) if done == 1 else None)

    assert [one.renewed for one in helped] == [len(NAMES)]
    assert (first.renewed, first.former_needed) == (1, False)
    assert actions(world.services).count("RootKeyRotated") == 1
    world.keep_first()
    world.check_all_is_readable()


def test_of_two_new_root_keys_one_wins(world: World) -> None:
    """Of nodes with different new root keys one rotates; the other changes nothing and says why."""
    other = other_file(world, a_line().strip(), *world.lines())
    world.put_first()
    files = (world.file, other)
    opened = threading.Barrier(2)

    def rotate(number: int) -> Rotated:
        with world.sealed(files[number]) as sealed:
            opened.wait()
            return sealed.rotation.run(COMMAND_LINE, nothing)

    outcomes = all_at_once(2, rotate)

    (winner,) = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Rotated)]
    assert isinstance(outcomes[1 - winner], Conflict), outcomes
    assert "nother rotation" in str(outcomes[1 - winner])
    assert actions(world.services).count("RootKeyRotated") == 1
    world.file.write_text(files[winner].read_text())
    world.keep_first()
    world.check_all_is_readable()


def test_a_rotation_that_is_overtaken_stops(world: World) -> None:
    """When another node goes on to a third root key, the one before ends with a sentence; nothing is lost."""
    world.put_first()
    other = other_file(world, a_line().strip(), *world.lines())
    overtaking = []

    with pytest.raises(Conflict, match="Another rotation of the root key began just now"):
        world.rotate(lambda _done, _of: overtaking.append(world.rotate(file=other)))

    assert [(one.renewed, one.former_needed) for one in overtaking] == [(len(NAMES) + 1, False)]
    world.file.write_text(other.read_text())
    world.keep_first()
    world.check_all_is_readable()


# The file beside an embedded database


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Services]:
    opened = open_services(
        read_settings({"KEYTURN_DATABASE": f"sqlite:///{tmp_path}/own/keyturn.db"}, new_installation=True),
        hashing=CHEAPEST,
    )
    try:
        yield opened
    finally:
        opened.close()


def test_the_own_file_is_written_and_cleaned(embedded: Services, tmp_path: Path) -> None:
    """Beside an embedded database a rotation makes the new root key, and removes the former one."""
    file = tmp_path / "own" / "root.key"
    (former,) = file.read_text().split()
    during = []

    with open_sealed(embedded.settings) as sealed:
        rotated = sealed.rotation.run(
            COMMAND_LINE, lambda _done, _of: during.append(file.read_text().split())
        )

    (new,) = file.read_text().split()
    assert new != former
    assert during == [[new, former]]
    assert (rotated.renewed, rotated.wrote_file, rotated.former_needed) == (1, True, False)
    assert file.stat().st_mode & 0o777 == 0o600
    embedded.signing_keys.forget()
    assert embedded.signing_keys.ring.signing


def test_one_rotation_holds_the_own_file(embedded: Services) -> None:
    """While one rotation is under way another is refused with a sentence, and the first goes on."""
    refused = []

    def again(_done: int, _of: int) -> None:
        with open_sealed(embedded.settings) as sealed, pytest.raises(Conflict, match="under way") as conflict:
            sealed.rotation.run(COMMAND_LINE, nothing)
        refused.append(conflict.value)

    with open_sealed(embedded.settings) as sealed:
        assert not sealed.rotation.run(COMMAND_LINE, again).former_needed
    assert len(refused) == 1


def test_a_broken_row_keeps_the_former_root_key_in_the_own_file(embedded: Services, tmp_path: Path) -> None:
    """As long as a row names the former root key it stays in the file; a further run makes no third one."""
    file = tmp_path / "own" / "root.key"
    with embedded.store._database.writing() as connection:
        connection.execute(text("UPDATE signing_key SET kid = 'moved'"))
    for _ in range(2):
        with open_sealed(embedded.settings) as sealed:
            rotated = sealed.rotation.run(COMMAND_LINE, nothing)
        assert [(one.table, one.row) for one in rotated.broken] == [("signing_key", "moved")]
        assert (rotated.wrote_file, rotated.former_needed) == (True, True)
        assert len(file.read_text().split()) == 2
