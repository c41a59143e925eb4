"""`keyturn admin service …`, and keys and tokens for services from the command line."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn.core.permissions import Permission
from tests.apis import identifier_of, new_group, register
from tests.cli.conftest import Command, opened, refused
from tests.people import holder

if TYPE_CHECKING:
    from tests.servers import RunningServer

HOWTO = Path(__file__).parents[3] / "docs" / "howto" / "apis-and-scopes.md"
ORDERS = identifier_of("orders")


def test_a_service_is_registered_listed_and_deleted(run: Command, person: str, tmp_path: Path) -> None:
    """`add` says its number, `list` who may hold what, and `delete` ends it; each is in the audit log."""
    with opened(tmp_path) as services:
        new_group(services, holder(services, "root", Permission.USER_ADMIN), "Clerks")
    scopes = ("--scope", "orders:read=Read orders", "--scope", "orders:write")
    done = run("admin", "service", "add", "Orders", ORDERS, *scopes)
    assert done.out == f"API 1 is registered: Orders, {ORDERS}.\n"
    assert (
        run(
            "admin", "service", "add", "Stock", "urn:stock", "--scope", "stock:move", "--group", "Clerks"
        ).code
        == 0
    )

    rows = [line.split("\t") for line in run("admin", "service", "list").out.splitlines()]
    assert [(row[1], row[-2], row[-1]) for row in rows] == [
        ("Orders", "orders:read", "everyone"),
        ("Orders", "orders:write", "everyone"),
        ("Stock", "stock:move", "Clerks"),
    ]
    with opened(tmp_path) as services:
        assert services.apis.list_all()[0].scopes[0].description == "Read orders"

    assert run("admin", "service", "delete", "1").out == "API 1, Orders, is deleted.\n"
    assert "keyturn admin api list" in refused(run("admin", "service", "delete", "1"))
    with opened(tmp_path) as services:
        told = [
            row for row in services.store.audit_log.list_after(limit=100) if row.target_type == "RESOURCE"
        ]
    assert [row.action for row in told] == ["ResourceCreated", "ResourceCreated", "ResourceDeleted"]


def test_the_commands_have_a_second_name(run: Command, person: str) -> None:
    """`keyturn admin api` is `keyturn admin service`."""
    added = run("admin", "api", "add", "Orders", ORDERS, "--scope", "orders:read")
    assert added.out == f"API 1 is registered: Orders, {ORDERS}.\n"
    assert run("admin", "api", "list").out == run("admin", "service", "list").out
    assert run("admin", "api", "delete", "1").out == "API 1, Orders, is deleted.\n"


def test_the_commands_of_the_how_to_run(run: Command, person: str, tmp_path: Path) -> None:
    """What an administrator copies from the page does what it says there."""
    with opened(tmp_path) as services:
        new_group(services, holder(services, "root", Permission.USER_ADMIN), "Clerks")
    commands = re.findall(r"^\$ keyturn (admin api .*)$", HOWTO.read_text(), re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        done = run(*shlex.split(command))
        assert done.code == 0, done
    assert "orders:read" in done.out
    assert "Clerks" in done.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("Orders", "orders", "--scope", "a"), "absolute URI"),
        (("Orders", ORDERS, "--scope", "a b"), "printable ASCII"),
        (
            ("Orders", ORDERS, "--scope", "a", "--group", "Nobody's"),
            "There is no group Nobody's: create it on the Groups page first.",
        ),
        (("", ORDERS, "--scope", "a"), "Give the API a name"),
    ],
)
def test_what_is_unfit_is_told(run: Command, person: str, arguments: tuple[str, ...], says: str) -> None:
    """Each mistake is one sentence."""
    assert says in refused(run("admin", "service", "add", *arguments))


def test_a_service_has_a_scope(run: Command, person: str) -> None:
    """Without one the command does not begin."""
    assert run("admin", "service", "add", "Orders", ORDERS).code == 2


def test_a_key_and_a_token_for_one_service(configured: Command, server: RunningServer) -> None:
    """`key create --scope` and `token --resource` open that service alone, with those scopes."""
    register(server.services, "orders")
    register(server.services, "stock")
    key = configured("key", "create", "--scope", "orders:read", "--scope", "stock:read").out.strip()
    assert "orders:read, stock:read" in configured("key", "list").out
    token = configured("token", "--resource", ORDERS, "--scope", "orders:read").out.strip()
    for credential in (key, token):
        answer = ask(server, credential, "orders")
        assert (answer.status_code, answer.headers["keyturn-scopes"]) == (200, "orders:read")
    assert ask(server, token, "stock").status_code == 401
    assert ask(server, key, "stock").headers["keyturn-scopes"] == "stock:read"
    listed = json.loads(configured("key", "list", "--json").out)
    assert [one["scopes"] for one in listed] == [["orders:read", "stock:read"], None]


def test_what_may_not_be_held_is_told(configured: Command, server: RunningServer) -> None:
    """Neither a key nor a token is made of a scope that is for others, nor of a service that there is not."""
    register(server.services, "orders", held_by=[])
    assert "no scope orders:write" in refused(configured("key", "create", "--scope", "orders:write"))
    assert "does not cover" in refused(configured("token", "--resource", ORDERS, "--scope", "orders:write"))
    assert "no API with this identifier" in refused(configured("token", "--resource", "urn:none"))


def ask(server: RunningServer, credential: str, name: str) -> httpx.Response:
    return httpx.get(
        f"{server.url}/verify",
        params={"audience": identifier_of(name)},
        headers={"Authorization": credential},
    )
