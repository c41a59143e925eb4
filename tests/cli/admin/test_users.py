"""`keyturn admin user …`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.core.permissions import Permission
from keyturn.errors import CredentialRefused
from keyturn.services.people.identity.attempts import FREE_FAILURES
from keyturn.verifying.origin import Origin
from tests.cli.conftest import Command, opened, refused
from tests.conftest import PASSWORD

if TYPE_CHECKING:
    from pathlib import Path

ANOTHER = "eleven copper kettles sing"


def may_sign_in(directory: Path, userid: str, password: str) -> bool:
    with opened(directory) as services:
        try:
            services.logins.log_in_api("bim", userid, password, Origin())
        except CredentialRefused:
            return False
        return True


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_person_who_was_added_can_sign_in(run: Command, tmp_path: Path, end: str) -> None:
    """`user add --password-stdin` takes the password as it is, without the end of its line."""
    done = run("admin", "user", "add", "bob", "--password-stdin", stdin=f" {PASSWORD} é{end}")
    assert (done.code, done.out, done.err) == (0, "Added bob with CREATE_PROJECT.\n", "")
    assert may_sign_in(tmp_path, "bob", f" {PASSWORD} é")
    assert not may_sign_in(tmp_path, "bob", PASSWORD)


def test_permissions_and_profile_are_given(run: Command, tmp_path: Path) -> None:
    """`user add` takes every permission, a name and an e-mail address."""
    may = [word for permission in Permission for word in ("--permission", permission.value)]
    done = run(
        "admin", "user", "add", "root", "--name", "Ro Ot", "--email", "r@example.com", *may,
        "--password-stdin", stdin=PASSWORD,
    )  # fmt: skip
    assert done.code == 0
    with opened(tmp_path) as services:
        user = services.users.get_by_userid("bim", "root")
    assert user.permissions == frozenset(Permission)
    assert (user.profile.name, user.profile.email) == ("Ro Ot", "r@example.com")


@pytest.mark.parametrize("more", [(), ("--permission", "AUDIT")], ids=["alone", "beside another"])
def test_all_permissions_are_given_by_one_word(run: Command, tmp_path: Path, more: tuple[str, ...]) -> None:
    """`--permission all` makes an administrator who may do and give everything, as the set-up link does."""
    done = run(
        "admin", "user", "add", "root", "--permission", "all", *more, "--password-stdin", stdin=PASSWORD
    )
    assert done.code == 0
    with opened(tmp_path) as services:
        assert services.users.get_by_userid("bim", "root").permissions == frozenset(Permission)


def test_a_person_has_the_default_permission_besides(run: Command) -> None:
    """What `--permission` gives is held besides CREATE_PROJECT, which every new person has."""
    done = run("admin", "user", "add", "bob", "--permission", "AUDIT", "--password-stdin", stdin=PASSWORD)
    assert done.out == "Added bob with AUDIT, CREATE_PROJECT.\n"


@pytest.mark.parametrize("userid", ["ada@example.com", "ADA@example.com ", "ａｄａ@example.com"])
def test_a_user_name_is_taken_once(run: Command, person: str, userid: str) -> None:
    """L4: a second account of the same name, however it is written, is refused."""
    assert "already" in refused(run("admin", "user", "add", userid, "--password-stdin", stdin=ANOTHER))


@pytest.mark.parametrize(
    ("userid", "password"),
    [
        ("bob", "short"),
        ("bob", ""),
        ("bob", "aaaaaaaaaaaaaaaaaaaa"),
        ("bob", "x" * 5000),
        ("", PASSWORD),
        ("bob\x07", PASSWORD),
        ("b" * 255, PASSWORD),
    ],
)
def test_an_unfit_person_is_refused(
    run: Command, tmp_path: Path, person: str, userid: str, password: str
) -> None:
    """A weak password and an unfit name are refused in one sentence, and nobody is added."""
    refused(run("admin", "user", "add", userid, "--password-stdin", stdin=password))
    with opened(tmp_path) as services:
        assert [user.userid for user in services.users.list_all()] == [person]


def test_an_unknown_permission_is_a_usage_error(run: Command) -> None:
    """`--permission` takes only what means something."""
    done = run("admin", "user", "add", "bob", "--permission", "GOD", "--password-stdin", stdin=PASSWORD)
    assert "GOD" in refused(done, code=2)


@pytest.mark.parametrize("command", ["add", "password"])
def test_bytes_that_are_no_text_are_refused(run: Command, person: str, command: str) -> None:
    """A password that is not UTF-8 is refused in one sentence: it is no defect of the program."""
    userid = person if command == "password" else "bob"
    refused(run("admin", "user", command, userid, "--password-stdin", stdin=b"\xff\xfe green lanterns drift"))


def test_a_person_is_listed(run: Command, person: str) -> None:
    """`user list` shows each person with permissions and state."""
    run("admin", "user", "disable", person)
    done = run("admin", "user", "list", COLUMNS="200")
    assert done.code == 0
    for text in (person, "Ada", "CREATE_PROJECT", "suspended"):
        assert text in done.out
    assert PASSWORD not in done.out
    assert "argon2" not in done.out


def test_an_administrator_does_not_widen_the_list(run: Command) -> None:
    """Who may do everything is listed with one word, so that a line can be read also where nothing is cut."""
    run("admin", "user", "add", "root", "--permission", "all", "--password-stdin", stdin=PASSWORD)
    (line,) = run("admin", "user", "list").out.splitlines()
    assert line.split("\t")[-1] == "all"


@pytest.mark.parametrize("name", ["[/bold]", "[red]Bob[/red]", "[link=https://example.com]x[/link]", "[b"])
def test_a_name_is_shown_as_it_is(run: Command, person: str, name: str) -> None:
    """What people call themselves and their keys is text to the lists, never markup."""
    assert run("admin", "user", "add", name, "--password-stdin", stdin=PASSWORD).code == 0
    assert run("admin", "key", "add", "--user", person, "--name", name).code == 0
    for listing in (("user", "list"), ("key", "list", "--user", person)):
        done = run("admin", *listing, COLUMNS="300")
        assert done.code == 0, done.err
        assert name in done.out


def test_a_person_is_disabled_and_let_in_again(run: Command, tmp_path: Path, person: str) -> None:
    """`user disable` ends what a person can do, `--undo` lets them in again, and both say what they did."""
    assert run("admin", "user", "disable", person).out == f"{person} is suspended.\n"
    assert not may_sign_in(tmp_path, person, PASSWORD)
    assert run("admin", "user", "disable", person).out == f"{person} was suspended already.\n"
    assert run("admin", "user", "disable", person, "--undo").out == f"{person} is restored.\n"
    assert run("admin", "user", "disable", person, "--undo").out == f"{person} was active already.\n"
    assert may_sign_in(tmp_path, person, PASSWORD)


def test_a_password_is_set(run: Command, tmp_path: Path, person: str) -> None:
    """`user password` replaces the password, and refuses a weak one."""
    done = run("admin", "user", "password", person, "--password-stdin", stdin=ANOTHER)
    assert (done.code, done.out) == (0, f"The password of {person} is set.\n")
    refused(run("admin", "user", "password", person, "--password-stdin", stdin="short"))
    assert may_sign_in(tmp_path, person, ANOTHER)
    assert not may_sign_in(tmp_path, person, PASSWORD)


def test_a_person_is_unlocked(run: Command, tmp_path: Path, person: str) -> None:
    """`user unlock` lets a person sign in again who was locked by wrong passwords, and says what it did."""
    for _ in range(FREE_FAILURES):
        assert not may_sign_in(tmp_path, person, "not the password")
    assert not may_sign_in(tmp_path, person, PASSWORD)
    assert run("admin", "user", "unlock", person).out == f"{person} is unlocked.\n"
    assert may_sign_in(tmp_path, person, PASSWORD)
    assert run("admin", "user", "unlock", person).out == f"{person} was not locked.\n"


def test_a_person_is_renamed(run: Command, tmp_path: Path, person: str) -> None:
    """`user rename` gives a user another name, with the password that they had."""
    assert run("admin", "user", "rename", person, "grace").out == f"{person} is now grace.\n"
    assert may_sign_in(tmp_path, "grace", PASSWORD)
    assert refused(run("admin", "user", "rename", person, "grace")) == f"keyturn: There is no user {person}."


@pytest.mark.parametrize(
    "command",
    [
        ("disable",),
        ("rename", "somebody"),
        ("unlock",),
        ("sign-out",),
        ("disable", "--undo"),
        ("password", "--password-stdin"),
    ],
)
def test_an_unknown_person_is_said_to_be_unknown(run: Command, person: str, command: tuple[str, ...]) -> None:
    """A command for nobody fails and names whom it did not find."""
    done = run("admin", "user", command[0], "nobody", *command[1:], stdin=ANOTHER)
    assert refused(done) == "keyturn: There is no user nobody."
