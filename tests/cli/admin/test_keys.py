"""`keyturn admin key …`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.core.api_key import ApiKeyFormat
from keyturn.core.records import ApiKeyRecord, KeyState
from keyturn.errors import CredentialRefused
from keyturn.verifying.origin import Origin
from tests.cli.conftest import Command, opened, refused

if TYPE_CHECKING:
    from pathlib import Path

IN_FIVE_YEARS = datetime.now(UTC).year + 5
FOREIGN = "9f3c61e07ab24d58b1c0fe7a6d2958e4"


def only_key(directory: Path) -> ApiKeyRecord:
    with opened(directory) as services:
        (key,) = services.keys.list_of(1)
        return key


def opens(directory: Path, credential: str) -> bool:
    with opened(directory) as services:
        try:
            principal = services.authenticator.authenticate([credential.encode()], Origin())
        except CredentialRefused:
            return False
        return principal is not None


def test_a_key_is_printed_and_nothing_else(run: Command, tmp_path: Path, person: str) -> None:
    """`key add` prints the key, and only the key, on standard output; it works."""
    done = run("admin", "key", "add", "--user", person, "--name", "nightly")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(ApiKeyFormat().pattern + "\n", done.out)
    assert opens(tmp_path, done.out.strip())
    key = only_key(tmp_path)
    assert key.name == "nightly"
    assert key.expires_at is not None
    assert key.expires_at - key.created_at == timedelta(days=365)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("never", None),
        (f"{IN_FIVE_YEARS}-12-31", datetime(IN_FIVE_YEARS + 1, 1, 1, tzinfo=UTC)),
    ],
)
def test_the_end_of_a_key_is_chosen(
    run: Command, tmp_path: Path, person: str, choice: str, expected: datetime | None
) -> None:
    """`--expires` takes never, and a date through which the key works."""
    assert run("admin", "key", "add", "--user", person, "--expires", choice).code == 0
    assert only_key(tmp_path).expires_at == expected


def test_the_life_of_a_key_is_chosen_in_days(run: Command, tmp_path: Path, person: str) -> None:
    """`--expires 90d` is ninety days from now."""
    before = datetime.now(UTC)
    assert run("admin", "key", "add", "--user", person, "--expires", "90d").code == 0
    expires = only_key(tmp_path).expires_at
    assert expires is not None
    assert timedelta(milliseconds=-1) < expires - before - timedelta(days=90) < timedelta(minutes=5)


@pytest.mark.parametrize("choice", ["2020-01-01", "0d"])
def test_an_end_in_the_past_is_refused(run: Command, person: str, choice: str) -> None:
    """A key that would be dead at once is not made."""
    assert "future" in refused(run("admin", "key", "add", "--user", person, "--expires", choice))


@pytest.mark.parametrize("choice", ["", "soon", "90", "d", "-1d", "١d", "99999d", "2099-02-30", "1.5d"])
def test_an_unreadable_end_is_a_usage_error(run: Command, person: str, choice: str) -> None:
    """`--expires` says how it is written."""
    assert "90d" in refused(run("admin", "key", "add", "--user", person, "--expires", choice), code=2)


def test_the_last_day_there_is_does_not_break(run: Command, person: str) -> None:
    """The last date of the calendar is taken or refused, and is no defect."""
    assert run("admin", "key", "add", "--user", person, "--expires", "9999-12-31").code in {0, 1, 2}


def test_never_can_be_forbidden(run: Command, person: str) -> None:
    """Where keys without an end are not allowed, the command line makes none either."""
    done = run(
        "admin", "key", "add", "--user", person, "--expires", "never",
        KEYTURN_ALLOW_KEYS_WITHOUT_EXPIRY="false",
    )  # fmt: skip
    assert "not allowed" in refused(done)


@pytest.mark.parametrize("command", ["add", "list", "import"])
def test_an_unknown_person_has_no_keys(run: Command, person: str, command: str) -> None:
    """A command for nobody fails and names whom it did not find."""
    done = run("admin", "key", command, "--user", "nobody", stdin=FOREIGN)
    assert refused(done) == "keyturn: There is no user nobody."


@pytest.mark.parametrize("name", ["x" * 255, "a\x1b[2Jb", "a\nb"])
def test_an_unfit_name_is_refused(run: Command, person: str, name: str) -> None:
    """A name that is too long, or could forge a line or move a cursor, is refused."""
    refused(run("admin", "key", "add", "--user", person, "--name", name))


def test_keys_are_listed_without_secrets(run: Command, person: str) -> None:
    """`key list` shows name, mask and state of each key, and no secret."""
    living = run("admin", "key", "add", "--user", person, "--name", "living").out.strip()
    revoked = run("admin", "key", "add", "--user", person, "--name", "revoked").out.strip()
    run("admin", "key", "revoke", "2")
    done = run("admin", "key", "list", "--user", person, COLUMNS="200")
    assert done.code == 0
    lines = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    assert "living" in lines["1"]
    assert "active" in lines["1"]
    assert "revoked" in lines["2"]
    for secret in (living, revoked):
        assert secret not in done.out
        assert secret.split("_")[2][:32] not in done.out


def test_a_list_in_a_pipe_is_not_cut_off(run: Command, person: str) -> None:
    """Without a terminal nothing is shortened: the end of a mask is what tells keys apart."""
    key = run("admin", "key", "add", "--user", person, "--name", "a name of some length").out.strip()
    done = run("admin", "key", "list", "--user", person)
    assert f"{key[:16]}…{key[-4:]}" in done.out


def test_a_revoked_key_is_dead(run: Command, tmp_path: Path, person: str) -> None:
    """`key revoke` ends a key at once, and says when there is nothing left to end."""
    key = run("admin", "key", "add", "--user", person).out.strip()
    assert opens(tmp_path, key)
    done = run("admin", "key", "revoke", "1")
    assert (done.code, done.out) == (0, "Key 1 is revoked.\n")
    assert not opens(tmp_path, key)
    assert only_key(tmp_path).state(datetime.now(UTC)) is KeyState.REVOKED
    assert refused(run("admin", "key", "revoke", "1")) == "keyturn: There is no living key 1."


@pytest.mark.parametrize("number", ["2", "0", "-1", str(2**63), "9" * 40])
def test_a_key_that_is_not_there_cannot_be_revoked(run: Command, person: str, number: str) -> None:
    """Any number that names no key is answered in one sentence."""
    assert refused(run("admin", "key", "revoke", "--", number)).startswith("keyturn: There is no living key")


def test_a_key_from_elsewhere_is_taken_over(run: Command, tmp_path: Path, person: str) -> None:
    """`key import` reads a key, says under which id it is known, never repeats it, and it works."""
    done = run("admin", "key", "import", "--user", person, "--name", "old", stdin=f"{FOREIGN}\n")
    assert (done.code, done.out) == (0, f"Imported as key 1 of {person}.\n")
    assert opens(tmp_path, FOREIGN)
    again = refused(run("admin", "key", "import", "--user", person, stdin=FOREIGN))
    assert FOREIGN not in again
    assert "already" in again


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"short",
        b"a" * 40,
        b"x" * 129,
        b"y" * 5000,
        b"kt_7hQ2mZ9fT1xD_Jr0cW8Jr0cW8Jr0cW8Jr0cW8Jr0cW8Jr0cW8",
        b"with spaces 0123456789abcdef",
        "0123456789abcdeé0123456789abcdef".encode(),
        b"\xff\xfe0123456789abcdef0123456789abcdef",
    ],
)
def test_an_unfit_key_is_not_taken_over(run: Command, person: str, text: bytes) -> None:
    """What is no key, is one of ours, or is easy to guess, is refused without being repeated."""
    sentence = refused(run("admin", "key", "import", "--user", person, stdin=text))
    assert not text.strip() or text.decode(errors="replace") not in sentence
