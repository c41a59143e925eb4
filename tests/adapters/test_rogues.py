"""False servers end at a step, within its limit, and are sent nothing that they should not have (F24)."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keyturn.adapters.findings import Fault, Finding, State, Step
from keyturn.adapters.limits import Limits
from keyturn.adapters.target_process import TargetProcess, crawl
from keyturn.adapters.tasks import Action
from keyturn.adapters.validation import Value, validate
from tests.adapters import rogues
from tests.adapters.rogues import rogue
from tests.adapters.targets import PASSWORD, PATIENT, SHORT, USER, a_task, climbed
from tests.certificates import Certificate, make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.adapters.rogues import Peer

TECHNOLOGIES = ("PostgreSQL", "MariaDB")
MODES = ("verify-full", "require", "disable")


def connection(port: int, technology: str, mode: str = "disable", **others: Value) -> dict[str, Value]:
    """The values of a connection to a false server."""
    return validate(
        {
            "technology": technology, "hostname": "127.0.0.1", "port": port, "database": "a",
            "username": USER, "password": PASSWORD, "tlsMode": mode, **others,
        }
    )  # fmt: skip


def end_of(values: dict[str, Value], limits: Limits = PATIENT) -> tuple[Step, Finding | None]:
    """Where a test ends, and how: all steps before are ok or not to be taken, all after are skipped."""
    results = climbed(values, limits=limits)
    assert [each.step for each in results] == list(Step)
    (failed,) = (each for each in results if each.state is State.FAILED)
    assert all(each.state is State.SKIPPED for each in results[results.index(failed) + 1 :])
    return failed.step, failed.finding


ANY = {
    "silent": rogues.silent,
    "closing": rogues.closing,
    "garbage": rogues.garbage,
    "http": rogues.http,
    "dripping": rogues.dripping(b"S" * 50),
    "dripping a greeting": rogues.dripping(rogues.greeting()),
    "dripping a message": rogues.dripping(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256"),
}
HOW = {Finding.TOO_SLOW, Finding.CONNECTION_LOST, Finding.OTHER_PROTOCOL, Finding.NO_TLS, Finding.TLS_FAILED}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("technology", TECHNOLOGIES)
@pytest.mark.parametrize("serve", ANY.values(), ids=ANY)
def test_a_server_of_no_protocol_ends_at_tls_or_login(
    serve: Callable[[Peer], None], technology: str, mode: str
) -> None:
    """Silence, a byte at a time, garbage and a closed door end at their step, without the password."""
    with rogue(serve) as server:
        step, finding = end_of(connection(server.port, technology, mode), SHORT)
    assert step is (Step.LOGIN if mode == "disable" else Step.TLS)
    assert finding in HOW
    assert PASSWORD.encode() not in server.received


def test_a_false_mysql_gets_no_file() -> None:
    """A server that asks for a file of this machine is sent none of it."""
    with rogue(rogues.asks_for_file) as server:
        step, finding = end_of(connection(server.port, "MariaDB"))
    assert (step, finding) == (Step.LOGIN, Finding.OTHER_PROTOCOL)
    assert Path(rogues.FILE).read_bytes()[:20] not in server.received


DISCLOSING = (
    "mysql_clear_password",
    "dialog",
    "sha256_password",
    "caching_sha2_password",
    "mysql_old_password",
)


@pytest.mark.parametrize("greets", [True, False], ids=["greets", "switches"])
@pytest.mark.parametrize("plugin", DISCLOSING)
def test_a_false_mysql_gets_no_password(plugin: str, greets: bool) -> None:
    """No way to sign in by which a server that nobody has verified would learn the password is taken."""
    with rogue(rogues.asks_by(plugin.encode(), greets=greets)) as server:
        step, finding = end_of(connection(server.port, "MariaDB"), SHORT)
    assert step is Step.LOGIN
    assert finding in {Finding.UNSAFE_LOGIN, Finding.TOO_SLOW}
    assert PASSWORD.encode() not in server.received


@pytest.mark.parametrize("plugin", DISCLOSING[:4])
@pytest.mark.parametrize("greets", [True, False], ids=["greets", "switches"])
def test_a_false_mysql_gets_no_password_over_unchecked_tls(
    plugin: str, greets: bool, certificate: Certificate
) -> None:
    """Nor over TLS with whoever answers: `require` checks nobody."""
    with rogue(rogues.asks_by(plugin.encode(), greets=greets, certificate=certificate)) as server:
        step, finding = end_of(connection(server.port, "MariaDB", "require"), SHORT)
    assert step is Step.LOGIN
    assert finding in {Finding.UNSAFE_LOGIN, Finding.TOO_SLOW}
    assert PASSWORD.encode() not in server.received


def test_a_false_postgresql_gets_no_password() -> None:
    """A server that nobody has verified and that asks for the password itself is sent none."""
    with rogue(rogues.asks_for_password) as server:
        assert end_of(connection(server.port, "PostgreSQL")) == (Step.LOGIN, Finding.UNSAFE_LOGIN)
    assert PASSWORD.encode() not in server.received


def test_nothing_is_read_before_tls() -> None:
    """Plain text behind the yes to TLS is not taken for the server's."""
    with rogue(rogues.speaks_before_tls) as server:
        step, _ = end_of(connection(server.port, "PostgreSQL", "require"))
    assert step is Step.TLS


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_the_driver_verifies_again(technology: str, tmp_path: Path, certificate: Certificate) -> None:
    """A server that shows the right certificate first and another one then is sent no password."""
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other")
    with rogue(rogues.changes_certificate(certificate, other, technology)) as server:
        values = connection(
            server.port, technology, "verify-full", tlsCertificate=certificate.file.read_text()
        )
        step, finding = end_of(values)
    assert (step, finding) == (Step.LOGIN, Finding.UNKNOWN_AUTHORITY)
    assert USER.encode() not in server.received
    assert PASSWORD.encode() not in server.received


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_the_driver_compares_the_name(technology: str, tmp_path: Path, certificate: Certificate) -> None:
    """Nor is it sent to one whose certificate is of a trusted authority, and for another name."""
    (tmp_path / "other").mkdir()
    elsewhere = ipaddress.IPv4Address("127.0.0.9")
    other = make_certificate(tmp_path / "other", host=elsewhere, issuer="another")
    trusted = certificate.file.read_text() + other.file.read_text()
    with rogue(rogues.changes_certificate(certificate, other, technology)) as server:
        values = connection(server.port, technology, "verify-full", tlsCertificate=trusted)
        assert end_of(values) == (Step.LOGIN, Finding.WRONG_NAME)
    assert USER.encode() not in server.received


def test_a_password_that_a_server_says_back_is_not_shown(certificate: Certificate) -> None:
    """A version, for instance, that holds the password is redacted."""
    with rogue(rogues.says_back(PASSWORD)) as server:
        results = climbed(connection(server.port, "MariaDB"), limits=SHORT)
    assert PASSWORD not in str(results)
    assert "[REDACTED]" in str(results)


ENDS = {Finding.TOO_SLOW, Finding.TOO_LARGE, Finding.OTHER_PROTOCOL, Finding.CONNECTION_LOST}
ENDLESS = {
    "rows of PostgreSQL": (rogues.endless_postgresql, "PostgreSQL"),
    "a huge row": (rogues.huge_postgresql, "PostgreSQL"),
    "a packet of MySQL": (rogues.endless_mysql, "MariaDB"),
}


@pytest.mark.parametrize(("serve", "technology"), ENDLESS.values(), ids=ENDLESS)
def test_answers_without_end_end(serve: Callable[[Peer], None], technology: str) -> None:
    """A test ends by its time or by the memory of its process."""
    with rogue(serve) as server:
        step, finding = end_of(connection(server.port, technology), SHORT)
    assert step in {Step.LOGIN, Step.DATABASE}
    assert finding in ENDS


@pytest.mark.parametrize(("serve", "technology"), ENDLESS.values(), ids=ENDLESS)
def test_a_crawl_without_end_ends(serve: Callable[[Peer], None], technology: str) -> None:
    """A crawl of such a server fails, and is never taken for done."""
    limits = Limits(step=2.0, crawl=3.0)
    with rogue(serve) as server:
        task = a_task(connection(server.port, technology), Action.CRAWL, limits=limits)
        with pytest.raises(Fault) as ended:
            list(crawl(TargetProcess(task)))
    assert ended.value.finding in ENDS


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_a_silent_server_ends_within_the_whole_limit(technology: str) -> None:
    """The limit of the whole test holds where that of a step is longer."""
    with rogue(rogues.silent) as server:
        limits = Limits(step=60.0, test=1.0)
        assert end_of(connection(server.port, technology), limits)[1] is Finding.TOO_SLOW
