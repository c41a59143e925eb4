"""Behind PgBouncer, the real one with its defaults: the whole flow, in both of its modes (fault E1 to E3)."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from keyturn import CredentialRefused, Verifier
from keyturn.errors import CannotStart
from keyturn.services.changes import freshness
from keyturn.services.keys.keys import NewKey
from keyturn.store import Store, open_engine
from keyturn.store.database.engine import WRITES
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD
from tests.databases import empty_postgresql_database
from tests.journeys.processes import run_command
from tests.people import add_person
from tests.poolers import SERVER_CONNECTIONS, Pooler, running_pgbouncer
from tests.servers import RunningServer, running_server
from tests.store.crowds import all_at_once
from tests.store.peers import Peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITERS = 16
KEYS_EACH = 15
"""More than after how many times the driver would prepare a statement."""


@pytest.fixture(scope="module", params=["transaction", "session"])
def pooler(request: pytest.FixtureRequest, postgresql_server: str) -> Iterator[Pooler]:
    """PgBouncer in each mode. In session mode each of our connections needs one of the server."""
    more = {"default_pool_size": "60"} if request.param == "session" else {}
    with running_pgbouncer(postgresql_server, request.param, **more) as running:
        yield running


@pytest.fixture
def database(postgresql_server: str, pooler: Pooler) -> str:
    """The address of an empty database by way of the pooler."""
    direct = empty_postgresql_database(postgresql_server)
    return pooler.address(direct.partition("?")[0].rpartition("/")[2])


@pytest.fixture
def node(
    database: str, root_key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningServer]:
    """A server on a host of its own, whose schema and first user were made by commands."""
    environment = {"KEYTURN_DATABASE": database, "KEYTURN_ROOT_KEY_FILE": str(root_key_file)}
    assert run_command("admin", "upgrade", environment=environment).returncode == 0
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "host-a"))
    with running_server(database, root_key_file=root_key_file) as running:
        yield running


def test_fault_e1_the_whole_flow_works_behind_a_pooler(
    node: RunningServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault E1: sign-in, key, exchange, verify, rotation and revoke work, and another host sees each end.

    The other host trusts its cache for a minute: nothing but its look for changes can end a key there.
    """
    user = add_person(node.services)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "host-b"))
    with ExitStack() as open_:
        client = open_.enter_context(httpx.Client(base_url=node.url, trust_env=False))
        elsewhere = open_.enter_context(Verifier(database, max_staleness_seconds=60))
        credentials = {"username": "bob", "password": PASSWORD}
        signed_in = client.post("/bim/iam/bim/user/authenticate", json=credentials).json()["token"]
        made = client.post("/apikey", headers={"Authorization": signed_in}, json={"name": "first"}).json()
        key, key_id = made["apikey"], made["keyid"]
        token = client.post("/apikey/authenticate", json={"apikey": key}).json()["token"]
        for credential in (key, token):
            assert client.get("/verify", headers={"Authorization": credential}).status_code == 200
            assert elsewhere.verify(credential).user_id == user.user_id

        rotated = client.post(f"/apikey/{key_id}/rotate", headers={"Authorization": key}).json()["apikey"]
        assert client.get("/verify", headers={"Authorization": key}).status_code == 401
        assert refused_elsewhere(elsewhere, key)
        assert elsewhere.verify(rotated).user_id == user.user_id

        assert client.delete(f"/apikey/{key_id}", headers={"Authorization": signed_in}).status_code == 200
        assert client.get("/verify", headers={"Authorization": rotated}).status_code == 401
        assert refused_elsewhere(elsewhere, rotated)


def refused_elsewhere(verifier: Verifier, key: str) -> bool:
    """Wait for as many looks as may pass until a node sees a change, and no longer (R1)."""
    looks = verifier._verification.freshness  # type: ignore[attr-defined]
    for _ in range(int(1 / freshness.POLL_SECONDS) + 1):
        try:
            verifier.verify(key)
        except CredentialRefused:
            return True
        looks._stopping.wait(freshness.POLL_SECONDS)
    return False


def test_fault_e2_many_changes_at_once_all_succeed(node: RunningServer, pooler: Pooler) -> None:
    """Fault E2: more writers than the pooler has connections change things often, and none is refused."""
    user = add_person(node.services)

    def create(_number: int) -> int:
        for _ in range(KEYS_EACH):
            node.services.keys.create_for(user.user_id, COMMAND_LINE, NewKey())
        return KEYS_EACH

    assert all_at_once(WRITERS, create) == [KEYS_EACH] * WRITERS
    assert "prepared statement" not in pooler.log.read_text()


def test_fault_e1_nothing_is_left_behind_in_a_session(
    node: RunningServer, pooler: Pooler, database: str
) -> None:
    """Fault E1: after changes and hints, every session of the pooler flushes at commit, and none listens."""
    store = node.services.store
    for number in range(3):
        add_person(node.services, f"user{number}")
        store.hints.send()
    store.hints._sender.join(0.3)  # type: ignore[attr-defined]  # It goes on; it had the time to send.

    def left(_number: int) -> tuple[str, int]:
        with psycopg.connect(database) as connection:
            (flushes,) = connection.execute("SHOW synchronous_commit").fetchone() or ("?",)
            heard = connection.execute("SELECT count(*) FROM pg_listening_channels()").fetchone() or (1,)
            connection.execute("SELECT pg_sleep(0.1)")  # While all the others ask too.
            return flushes, heard[0]

    assert set(all_at_once(SERVER_CONNECTIONS, left)) == {("on", 0)}


def test_fault_e1_another_programs_setting_weakens_no_change(node: RunningServer, database: str) -> None:
    """Fault E1: a session that another program left with `synchronous_commit = off` still flushes ours."""
    engine = open_engine(database)
    with psycopg.connect(database, autocommit=True) as another:
        another.execute("SET synchronous_commit = off")
        with engine.connect().execution_options(**{WRITES: True}) as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    engine.dispose()


def test_fault_a13_a_frozen_node_is_put_out_behind_a_pooler(node: RunningServer, database: str) -> None:
    """Fault A13: the limits of a transaction are in force behind a pooler too."""
    peer = Peer()
    frozen = peer.freeze_inside_a_change(database, {"idle": 300, "transaction": 1_500})
    try:
        add_person(node.services)
    finally:
        peer.end_frozen(frozen)
        peer.end()


@pytest.mark.parametrize("way", ["address", "PGOPTIONS", "dropped"])
def test_fault_e3_options_are_refused_with_what_to_do(
    database: str, postgresql_server: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault E3: options that a pooler refuses, or drops without a word, stop the start with the cure."""
    if way == "PGOPTIONS":
        monkeypatch.setenv("PGOPTIONS", "-c search_path=elsewhere")
    else:
        database += "?options=-csearch_path%3Delsewhere"
    with ExitStack() as open_:
        if way == "dropped":
            dropping = open_.enter_context(
                running_pgbouncer(postgresql_server, "transaction", ignore_startup_parameters="options")
            )
            database = dropping.address(database.rpartition("/")[2])
        with pytest.raises(CannotStart, match=r"options.*ALTER ROLE"):
            open_engine(database)


def test_fault_e3_a_pooler_for_single_statements_is_refused(postgresql_server: str, tmp_path: Path) -> None:
    """Fault E3: where no transaction is possible the start says which mode to set."""
    direct = empty_postgresql_database(postgresql_server)
    with running_pgbouncer(postgresql_server, "statement") as pooler:
        database = pooler.address(direct.partition("?")[0].rpartition("/")[2])
        with pytest.raises(CannotStart, match="pool_mode"):
            Store(open_engine(database))
