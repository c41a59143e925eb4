"""The start: the right root key, one signing key, a set-up that opens once."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from keyturn.composition import Services, open_services
from keyturn.core.permissions import Permission
from keyturn.errors import CannotStart, CredentialRefused, InvalidInput
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from tests.conftest import PASSWORD, Opener
from tests.databases import new_postgresql_database
from tests.fakes import Clock
from tests.people import HERE, actions, add_person, caller, log_in, signed_in
from tests.store.crowds import all_at_once

if TYPE_CHECKING:
    from pathlib import Path


def open_embedded(folder: Path) -> Services:
    settings = read_settings({"KEYTURN_DATABASE": f"sqlite:///{folder}/keyturn.db"}, new_installation=True)
    return open_services(settings, Clock().system(), hashing=CHEAPEST)


def set_up(services: Services, code: str, userid: str = "admin") -> object:
    return services.users.add_first(code=code, userid=userid, name=None, password=PASSWORD, origin=HERE)


# Root key


def test_an_embedded_database_makes_its_root_key(tmp_path: Path) -> None:
    """The first start makes the root key beside the database, mode 0600; the next one uses it (S2)."""
    folder = tmp_path / "data"
    open_embedded(folder).close()
    file = folder / "root.key"
    made = file.read_bytes()

    open_embedded(folder).close()

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes() == made


def test_a_lost_root_key_is_not_made_anew(tmp_path: Path) -> None:
    """An existing database without its root key stops the start, and no other key appears (S2)."""
    open_embedded(tmp_path).close()
    (tmp_path / "root.key").unlink()

    with pytest.raises(CannotStart, match=re.escape(str(tmp_path / "root.key"))):
        open_embedded(tmp_path)

    assert not (tmp_path / "root.key").exists()


def test_a_wrong_root_key_stops_the_start(services: Services, reopen: Opener, root_key_file: Path) -> None:
    """Another root key than the one of the beginning is refused at the start, not at first use (S2)."""
    root_key_file.write_text("B" * 42 + "A")

    with pytest.raises(CannotStart, match="does not belong"):
        reopen()


def test_a_server_needs_a_given_root_key(postgresql_server: str) -> None:
    """With PostgreSQL there is no place beside the database: without a given root key nothing starts (S2)."""
    database = new_postgresql_database(postgresql_server)

    with pytest.raises(CannotStart, match="KEYTURN_ROOT_KEY_FILE"):
        open_services(read_settings({"KEYTURN_DATABASE": database}, new_installation=True))


def test_a_tampered_signing_key_stops_the_start(services: Services, reopen: Opener) -> None:
    """A sealed signing key that was changed in the database is not used: the start says so (S1)."""
    with services.store._database.writing() as connection:
        connection.execute(text("UPDATE signing_key SET kid = 'moved'"))

    with pytest.raises(CannotStart):
        reopen()


def test_no_private_key_is_on_disk(tmp_path: Path) -> None:
    """No file of an embedded database holds a private key, password, key or cookie (S1, S5, K4)."""
    services = open_embedded(tmp_path)
    private = services.signing_keys.ring.signing.key.private_jwk()["d"]
    add_person(services)
    cookie = log_in(services)
    key = services.keys.create(signed_in(services, cookie).principal, HERE, NewKey()).secret
    token = services.logins.log_in_api("bim", "bob", PASSWORD, HERE).token
    code = services.installation.new_setup_code() or "none"
    root_key = (tmp_path / "root.key").read_text().strip()
    secrets = [
        private,
        PASSWORD,
        key.split("_")[2],
        cookie,
        token.split(".")[2],
        token.split(".")[1],
        root_key,
    ]

    def leaks() -> list[tuple[str, int]]:
        return [
            (path.name, number)
            for path in tmp_path.iterdir()
            if path.name != "root.key"
            for number, secret in enumerate(secrets)
            if secret.encode() in path.read_bytes()
        ]

    assert code == "none"
    assert leaks() == []
    services.close()
    assert leaks() == []
    assert b"bob" in (tmp_path / "keyturn.db").read_bytes(), "this is the file that holds it all"


def test_nodes_that_start_together_are_one_installation(
    empty_database: str, clock: Clock, root_key_file: Path
) -> None:
    """Nodes that start on an empty database at once share schema, root key proof and signing key (U2)."""
    settings = read_settings(
        {"KEYTURN_DATABASE": empty_database}, root_key_file=root_key_file, new_installation=True
    )

    nodes = all_at_once(3, lambda _: open_services(settings, clock.system(), hashing=CHEAPEST))

    opened = [node for node in nodes if isinstance(node, Services)]
    kids = {node.signing_keys.ring.signing.kid for node in opened}
    for node in opened:
        node.close()
    assert [node for node in nodes if not isinstance(node, Services)] == []
    assert len(kids) == 1


# Set-up


def test_there_is_no_account_at_first(services: Services) -> None:
    """A new installation has no user, and opens only with the printed code (L13)."""
    assert list(services.users.list_all()) == []
    assert services.installation.is_setup_open()
    for code in ("", "admin", "None", "\ud800"):
        assert set_up(services, code) is None
    with pytest.raises(CredentialRefused):
        log_in(services, "admin")


def test_set_up_opens_once_and_never_again(services: Services, reopen: Opener) -> None:
    """The code makes one administrator; then set-up is dead, on every node and after a restart (L13)."""
    node = reopen()
    code = services.installation.new_setup_code()
    assert code is not None

    assert set_up(node, f" {code}\n") is not None

    (admin,) = services.users.list_all()
    assert admin.permissions == frozenset(Permission)
    log_in(services, "admin")
    for server in (services, node, reopen()):
        assert set_up(server, code, "mallory") is None
        assert not server.installation.is_setup_open()
        assert server.installation.new_setup_code() is None
    assert [user.userid for user in services.users.list_all()] == ["admin"]
    assert actions(services).count("UserCreated") == 1


def test_only_the_newest_code_opens(services: Services, reopen: Opener) -> None:
    """Each start prints a code that voids the one before."""
    first = services.installation.new_setup_code()
    second = reopen().installation.new_setup_code()
    assert first is not None
    assert second is not None
    assert first != second

    assert set_up(services, first) is None
    assert set_up(services, second) is not None


def test_a_code_outlasts_a_mistake(services: Services) -> None:
    """A weak password or an unfit name at set-up does not use the code up."""
    code = services.installation.new_setup_code()
    assert code is not None
    for userid, password in (("admin", "short"), ("", PASSWORD), ("a\x00b", PASSWORD)):
        with pytest.raises(InvalidInput):
            services.users.add_first(code=code, userid=userid, name=None, password=password, origin=HERE)

    assert set_up(services, code) is not None


def test_a_user_of_the_command_line_closes_set_up(services: Services) -> None:
    """Whoever made the first user by hand needs no set-up: its code is void (L13)."""
    code = services.installation.new_setup_code()
    assert code is not None

    add_person(services)

    assert set_up(services, code) is None
    assert services.installation.new_setup_code() is None


# Closing


def test_a_restart_keeps_everything(services: Services, reopen: Opener) -> None:
    """After a stop and a start keys, tokens and sessions work as before, and uses are written."""
    add_person(services)
    cookie = log_in(services)
    bob = signed_in(services, cookie).principal
    key = services.keys.create(bob, HERE, NewKey())
    token = services.exchange.exchange(in_header=[], in_body=key.secret, origin=HERE).token
    services.close()

    again = reopen()

    assert caller(again, key.secret).userid == caller(again, token).userid == "bob"
    assert signed_in(again, cookie).principal == bob
    (stored,) = again.store.api_keys.list_of_user(bob.user_id)
    assert stored.last_use is not None
