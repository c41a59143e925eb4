"""A test of a connection: each step on real servers, and the one that fails."""

from __future__ import annotations

import importlib.util
import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.adapters import adapter
from keyturn.adapters.addresses import AddressPolicy
from keyturn.adapters.findings import TEXTS, Finding, State, Step
from keyturn.adapters.ladder import Ladder, StepResult, redacted
from keyturn.adapters.limits import Limits
from keyturn.adapters.target_process import test as climb
from keyturn.adapters.tasks import StepBegun
from keyturn.adapters.technologies import BY_NAME, Tier
from keyturn.core.networks import read_network
from tests.adapters.targets import PASSWORD, USER, a_task, climbed, failing
from tests.certificates import make_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.adapters.validation import Value
    from tests.certificates import Certificate

ENGINES = ("postgresql", "mariadb")


@pytest.fixture(params=ENGINES)
def values(request: pytest.FixtureRequest) -> dict[str, Value]:
    """A connection to a real server; each test that takes it runs on both."""
    found: tuple[Any, dict[str, Value]] = request.getfixturevalue(request.param)
    return found[1]


def test_a_good_connection_takes_every_step(values: dict[str, Value]) -> None:
    """All eight steps are taken in their order and say what they found, once they were announced."""
    seen = list(climb(a_task(values)))
    assert [each.step for each in seen if isinstance(each, StepBegun)] == list(Step)
    results = {each.step: each for each in seen if isinstance(each, StepResult)}
    assert list(results) == list(Step)
    assert {each.state for each in results.values()} == {State.OK}
    assert results[Step.RESOLVE].detail == "127.0.0.1"
    assert results[Step.TLS].detail.startswith("TLS 1.3, issued by keyturn test, valid until ")
    assert results[Step.LIST].detail.endswith((" schema", " schemas"))
    assert results[Step.VERSION].detail


def test_the_server_of_mariadb_is_reached_as_mysql(mariadb: tuple[Any, dict[str, Value]]) -> None:
    """MySQL has the same adapter; the vendor's own server is not run here."""
    assert {each.state for each in climbed({**mariadb[1], "technology": "MySQL"})} == {State.OK}


def test_without_tls_its_step_is_skipped(mariadb: tuple[Any, dict[str, Value]]) -> None:
    """A connection that does without TLS says so by a step that is skipped."""
    results = {each.step: each for each in climbed({**mariadb[1], "tlsMode": "disable"})}
    assert results.pop(Step.TLS).state is State.SKIPPED
    assert {each.state for each in results.values()} == {State.OK}


def test_a_certificate_that_is_not_checked_is_said_to_be_so(values: dict[str, Value]) -> None:
    """With `require` any certificate passes, and nothing of it is shown."""
    unchecked = {name: value for name, value in values.items() if name != "tlsCertificate"}
    results = {each.step: each for each in climbed({**unchecked, "tlsMode": "require"})}
    assert results[Step.TLS].detail == "TLS 1.3, certificate not checked"
    assert {each.state for each in results.values()} == {State.OK}


@pytest.mark.parametrize(
    ("changes", "step", "finding"),
    [
        ({"hostname": "no-such-host.invalid"}, Step.RESOLVE, Finding.UNKNOWN_NAME),
        ({"hostname": "10.0.0.1"}, Step.ADDRESS, Finding.FORBIDDEN_ADDRESS),
        ({"hostname": "169.254.169.254"}, Step.ADDRESS, Finding.FORBIDDEN_ADDRESS),
        ({"port": 1}, Step.TCP, Finding.PORT_CLOSED),
        ({"tlsCertificate": ""}, Step.TLS, Finding.UNKNOWN_AUTHORITY),
        ({"hostname": "localhost"}, Step.TLS, Finding.WRONG_NAME),
        ({"password": "wrong"}, Step.LOGIN, Finding.LOGIN_REFUSED),
        ({"username": "nobody"}, Step.LOGIN, Finding.LOGIN_REFUSED),
        ({"database": "absent"}, Step.DATABASE, Finding.NO_DATABASE),
    ],
)
def test_the_step_that_is_wrong_fails(
    values: dict[str, Value], changes: dict[str, Value], step: Step, finding: Finding
) -> None:
    """The steps before are ok, those after are skipped, and the text is the finding's."""
    results = climbed({**values, **changes})
    index = list(Step).index(step)
    assert [each.state for each in results] == [
        *[State.OK] * index, State.FAILED, *[State.SKIPPED] * (len(Step) - index - 1)
    ]  # fmt: skip
    assert results[index].finding is finding
    assert results[index].detail.startswith(TEXTS[finding])
    assert PASSWORD not in str(results)


@pytest.mark.parametrize(
    ("days", "finding"),
    [((-2, -1), Finding.CERTIFICATE_EXPIRED), ((1, 2), Finding.CERTIFICATE_EARLY)],
)
def test_a_certificate_out_of_its_time_fails(
    tmp_path: Path, days: tuple[int, int], finding: Finding, silent_tls: Any, values: dict[str, Value]
) -> None:
    """A certificate that has expired, or is not valid yet, ends at its step."""
    made = make_certificate(tmp_path, begins_days=days[0], ends_days=days[1])
    with silent_tls(made, str(values["technology"])) as port:
        found = failing({**values, "port": port, "tlsCertificate": made.file.read_text()})
    assert (found.step, found.finding) == (Step.TLS, finding)


def test_authorities_of_this_machine_are_trusted(
    values: dict[str, Value], certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without certificates of its own a connection trusts those of the system: here and in each driver."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    system = {name: value for name, value in values.items() if name != "tlsCertificate"}
    assert {each.state for each in climbed(system)} == {State.OK}


def test_a_package_that_a_way_to_sign_in_needs_is_named(mariadb: tuple[Any, dict[str, Value]]) -> None:
    """An account of MariaDB that signs in by ed25519 needs a package that few have."""
    server, values = mariadb
    server.run(
        "INSTALL SONAME 'auth_ed25519'",
        f"CREATE OR REPLACE USER {USER}@'127.0.0.1' IDENTIFIED VIA ed25519 USING PASSWORD('{PASSWORD}')",
    )
    login = climbed(values)[list(Step).index(Step.LOGIN)]
    server.run("UNINSTALL SONAME 'auth_ed25519'")
    has_package = importlib.util.find_spec("nacl") is not None
    assert login.finding is (None if has_package else Finding.DRIVER_MISSING)
    assert ("PyNaCl" in login.detail) != has_package


def test_a_server_without_tls_is_told(postgresql_port: tuple[str, int], postgresql: Any) -> None:
    """PostgreSQL answers N, and no password follows."""
    plain = int(postgresql_port[0].rpartition("=")[2])
    found = failing({**postgresql[1], "port": plain})
    assert (found.step, found.finding) == (Step.TLS, Finding.NO_TLS)


def test_a_server_that_asks_for_the_password_itself_gets_it_over_verified_tls_alone(postgresql: Any) -> None:
    """With `require` nobody knows who asks."""
    values = {**postgresql[1], "username": "clear"}
    assert {each.state for each in climbed(values)} == {State.OK}
    found = failing({**values, "tlsMode": "require"})
    assert (found.step, found.finding) == (Step.LOGIN, Finding.UNSAFE_LOGIN)


def test_a_database_that_may_not_be_opened_is_told(postgresql: Any) -> None:
    """The login is ok: the right to connect is missing."""
    administrator, values = postgresql
    administrator.execute("REVOKE CONNECT ON DATABASE crawled FROM public")
    found = failing(values)
    assert (found.step, found.finding) == (Step.DATABASE, Finding.DATABASE_REFUSED)


def test_an_account_that_sees_nothing_is_told(postgresql: Any) -> None:
    """A crawl would find nothing, and nobody would know why."""
    administrator, values = postgresql
    administrator.execute("DROP SCHEMA public")
    found = failing(values)
    assert (found.step, found.finding) == (Step.LIST, Finding.NOTHING_SEEN)


def test_the_database_of_keyturn_is_refused(values: dict[str, Value]) -> None:
    """Its address and port are forbidden whatever networks are allowed."""
    found = failing(values, own_endpoints=[("127.0.0.1", int(str(values["port"])))])
    assert (found.step, found.finding) == (Step.ADDRESS, Finding.FORBIDDEN_ADDRESS)


def test_a_name_is_looked_up_once(values: dict[str, Value]) -> None:
    """A name that leads elsewhere at the second look leads nowhere else: nobody looks again (F24)."""
    asked: list[str] = []

    def resolver(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    named = {**values, "hostname": "db.example.com", "tlsMode": "require"}
    ladder = Ladder(named, AddressPolicy((read_network("127.0.0.0/8"),)), resolver, Limits())
    assert {each.state for each in ladder.climb()} == {State.OK}
    ladder.close()
    assert asked == ["db.example.com"]


@pytest.mark.parametrize("found", [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"]])
def test_one_forbidden_address_forbids_the_name(found: list[str]) -> None:
    """A name with an allowed address and another one is refused, in either order."""
    values: dict[str, Value] = {"technology": "PostgreSQL", "hostname": "a", "port": 1}
    ladder = Ladder(values, AddressPolicy((read_network("127.0.0.0/8"),)), lambda _: found, Limits())
    failed = next(each for each in ladder.climb() if each.state is State.FAILED)
    assert failed.finding is Finding.FORBIDDEN_ADDRESS


def test_an_address_that_does_not_answer_is_passed_over(postgresql: Any) -> None:
    """Of several allowed addresses the first that answers is taken."""
    ladder = Ladder(
        {**postgresql[1], "hostname": "a", "tlsMode": "require"},
        AddressPolicy((read_network("127.0.0.0/8"),)),
        lambda _: ["127.9.9.9", "127.0.0.1"],
        Limits(),
    )
    results = {each.step: each for each in ladder.climb()}
    ladder.close()
    assert results[Step.TCP].detail == "127.0.0.1"
    assert results[Step.VERSION].state is State.OK


def test_a_missing_driver_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, mariadb: tuple[Any, dict[str, Value]]
) -> None:
    """Somebody who installed Keyturn without it reads what to install."""
    monkeypatch.setitem(adapter._MODULES, "MariaDB", "no_such_module")
    policy = AddressPolicy((read_network("127.0.0.0/8"),))
    results = list(Ladder(mariadb[1], policy, lambda _: [], Limits()).climb())
    failed = next(each for each in results if each.state is State.FAILED)
    assert failed.finding is Finding.DRIVER_MISSING
    assert "keyturn[mariadb]" in failed.detail


def test_every_finding_has_a_text() -> None:
    """People read a sentence for each."""
    assert set(TEXTS) == set(Finding)
    assert all(text.endswith(".") for text in TEXTS.values())


def test_every_technology_that_is_reached_has_an_adapter() -> None:
    """Those of the first two tiers have one, those of the third none."""
    reached = {each.name for each in BY_NAME.values() if each.tier is not Tier.KEPT}
    assert reached == set(adapter._MODULES)


@pytest.mark.parametrize("text", ["{}", "a {} b", "'{}'"])
def test_logs_hold_no_secret_in_any_spelling(text: str) -> None:
    """The words of a driver are redacted, however it wrote them."""
    secret = "p'a\\s%s\nü"
    for spelling in (secret, repr(secret), repr(secret.encode()), "p%27a%5Cs%25s%0A%C3%BC"):
        assert redacted(text.format(spelling), [secret, "other"]).count("[REDACTED]") == 1


def test_nothing_that_holds_a_secret_shows_it() -> None:
    """Tasks and targets have secrets, and show none."""
    values: dict[str, Value] = {"technology": "PostgreSQL", "username": USER, "password": PASSWORD}
    task = replace(a_task(values), new_password=PASSWORD)
    target = adapter.Target(BY_NAME["PostgreSQL"], values, ipaddress.ip_address("127.0.0.1"), Limits())
    ladder = Ladder(values, AddressPolicy(), lambda _: [], Limits())
    assert PASSWORD not in f"{task!r}{target!r}{ladder!r}"
