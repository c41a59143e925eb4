"""A lost root key ends what was encrypted, and nothing else."""

from __future__ import annotations

import itertools
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from keyturn.composition import open_recovery, open_sealed, open_services
from keyturn.core.connections import ConnectionState
from keyturn.errors import CannotStart, CredentialRefused, InvalidState
from keyturn.services.connections.registry import NewConnection
from keyturn.services.installation.root_keys import new_root_key
from keyturn.services.keys.keys import CreatedKey, NewKey
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.store.installation.seals import SEALED_COLUMNS
from keyturn.system import System
from keyturn.verifying.origin import COMMAND_LINE
from tests.databases import new_sqlite_database
from tests.people import HERE, actions, caller
from tests.store.peers import Peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.composition import Services
    from keyturn.core.principal import Principal
    from keyturn.services.connections.lost_root_key import ReplacedRootKey
    from tests.conftest import Opener

DETAILS = {"technology": "Redshift", "hostname": "db.example.com", "database": "sales", "username": "reader"}


@dataclass
class World:
    """An installation with one of each thing that is encrypted, and things that are not."""

    services: Services
    admin: Principal
    file: Path
    key: CreatedKey
    token: str

    def replace(self, services: Services | None = None) -> ReplacedRootKey:
        with open_recovery((services or self.services).settings, self.services.system) as recovery:
            return recovery.replacement.run(COMMAND_LINE)

    def lose(self) -> str:
        """Lose the root key, and give another one; return the lost one."""
        lost = self.file.read_text()
        self.file.write_text(new_root_key(self.services.system))
        return lost

    def system_key(self, services: Services, *, regenerate: bool = False) -> str:
        return services.system_keys.get_or_create(
            self.admin,
            HERE,
            name="one",
            scopes=["plugin:trino"],
            connection_key="secret",
            regenerate=regenerate,
        ).secret

    def unreadable(self) -> set[str]:
        with open_sealed(self.services.settings, self.services.system) as sealed:
            return {broken.table for broken in sealed.seals.find_broken()}


@pytest.fixture
def world(services: Services, admin: Principal, root_key_file: Path) -> World:
    services.connections.add(admin, NewConnection("secret", {**DETAILS, "password": "hush"}), HERE)
    key = services.keys.create(admin, HERE, NewKey("one"))
    token = services.exchange.exchange(in_header=[], in_body=key.secret, origin=HERE).token
    made = World(services, admin, root_key_file, key, token)
    made.system_key(services)
    return made


def test_what_is_a_digest_goes_on_and_tokens_end(world: World, reopen: Opener) -> None:
    """API keys and sessions are as before, bearer tokens are refused, and new ones are made."""
    world.lose()
    with pytest.raises(CannotStart, match="does not belong"):
        reopen()

    replaced = world.replace()

    node = reopen()
    assert caller(node, world.key.secret).key_id == world.key.record.key_id
    with pytest.raises(CredentialRefused):
        caller(node, world.token)
    token = node.exchange.exchange(in_header=[], in_body=world.key.secret, origin=HERE).token
    assert caller(node, token).key_id == world.key.record.key_id
    assert actions(node)[-2:] == ["RootKeyReplaced", "SigningKeysRetired"]
    assert len(replaced.key_id) == 16


def test_every_sealed_column_is_seen_to(world: World, reopen: Opener) -> None:
    """Of each column of seals, rows open again or are named, and can be given again."""
    with open_sealed(world.services.settings, world.services.system) as sealed:
        for column in SEALED_COLUMNS:
            assert sealed.store.seals.list_rows(column, size=9), column.sealed
    world.lose()

    replaced = world.replace()

    assert set(replaced.unreadable) == {("system_key", "one"), ("connection", "secret")}
    assert world.unreadable() == {"system_key", "connection"}
    node = reopen()
    record = node.connections.get_now(world.admin, "secret")
    assert record.state is ConnectionState.UNHEALTHY
    assert "Enter them again" in (record.state_reason or "")
    with pytest.raises(InvalidState, match="regenerate"):
        world.system_key(node)
    assert world.system_key(node, regenerate=True)
    assert world.unreadable() == {"connection"}


def test_a_running_server_follows(world: World) -> None:
    """A server that runs refuses former tokens at once, and makes new ones, without a restart."""
    assert caller(world.services, world.token)
    world.lose()

    world.replace()

    with pytest.raises(CredentialRefused):
        caller(world.services, world.token)
    made = world.services.exchange.exchange(in_header=[], in_body=world.key.secret, origin=HERE).token
    assert caller(world.services, made).key_id == world.key.record.key_id


def test_a_lost_root_key_that_is_found_opens_what_it_encrypted(world: World, reopen: Opener) -> None:
    """Put back as a last line, it opens the rows that stayed, and a rotation renews them."""
    secret = world.system_key(world.services)
    lost = world.lose()
    world.replace()

    world.file.write_text(world.file.read_text() + lost)

    node = reopen()
    assert world.system_key(node) == secret
    with open_sealed(world.services.settings, world.services.system) as sealed:
        assert sealed.rotation.run(COMMAND_LINE, lambda _done, _of: None).broken == ()
    assert world.unreadable() == set()


def test_a_root_key_that_is_there_is_not_replaced(world: World) -> None:
    """Where the root key is given, nothing changes."""
    before = world.services.store.audit_log.newest()

    with pytest.raises(InvalidState, match="is not lost"):
        world.replace()
    world.file.unlink()
    with pytest.raises(CannotStart):
        world.replace()  # Nobody gave the new one.

    assert world.services.store.audit_log.newest() == before


@pytest.fixture
def peer() -> Iterator[Peer]:
    """Another process on this host."""
    process = Peer()
    try:
        yield process
    finally:
        process.end()


@pytest.mark.parametrize("left", ["nothing", "damaged", "another"])
def test_no_kill_leaves_a_replacement_that_cannot_go_on(left: str, tmp_path: Path, peer: Peer) -> None:
    """Killed before each commit and each write of the file, the next run ends it, and the server starts."""
    database = new_sqlite_database(tmp_path / "data")
    environment = {"KEYTURN_DATABASE": database}
    settings = read_settings(environment)
    open_services(settings, hashing=CHEAPEST).close()
    file = tmp_path / "data" / "root.key"
    for step in itertools.count(1):
        file.unlink()
        if left != "nothing":
            file.write_text("damaged" if left == "damaged" else new_root_key(System()))
            file.chmod(0o600)
        ended = peer.died(peer.replace_root_key(environment, step))
        if ended != 0:
            assert ended == signal.SIGKILL, step
            try:
                open_services(settings, hashing=CHEAPEST).close()
            except CannotStart:
                assert peer.died(peer.replace_root_key(environment, 0)) == 0, step
        services = open_services(settings, hashing=CHEAPEST)
        assert actions(services).count("RootKeyReplaced") == step
        services.close()
        if left == "damaged":
            assert file.with_name("root.key.unreadable").read_text() == "damaged"
        if ended == 0:
            break
    assert step > 2
