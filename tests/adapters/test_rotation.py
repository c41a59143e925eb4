"""The password of an account is changed to another, which was tried, or stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.adapters.findings import Finding, State, Step
from keyturn.adapters.limits import Limits
from keyturn.adapters.target_process import Rotation, TargetProcess, rotate
from keyturn.adapters.tasks import Action, Changing
from tests.adapters.targets import PASSWORD, USER, a_task, climbed

if TYPE_CHECKING:
    from keyturn.adapters.validation import Value

NEW = "Canary-new-9Zk3'\"\\%s{}"


@pytest.fixture(params=["postgresql", "mariadb"])
def target(request: pytest.FixtureRequest) -> tuple[Any, dict[str, Value], str]:
    """A function that runs statements, the connection, and how one limits its account to a session."""
    found: Any = request.getfixturevalue(request.param)
    if request.param == "postgresql":
        limit = f"ALTER ROLE {USER} CONNECTION LIMIT {{}}"
        return lambda text: found[0].execute(text.encode()), found[1], limit
    limit = f"ALTER USER {USER}@'127.0.0.1' WITH MAX_USER_CONNECTIONS {{}}"
    return found[0].run, found[1], limit


def works(values: dict[str, Value], password: str) -> bool:
    """Whether a password opens the connection."""
    return {each.state for each in climbed({**values, "password": password})} == {State.OK}


def test_a_new_password_takes_the_place_of_the_old(target: tuple[Any, dict[str, Value], str]) -> None:
    """After a rotation the new one works, whatever characters it has, and the old one does not."""
    _, values, _ = target
    assert rotate(replace(a_task(values), new_password=NEW)) == (Rotation.CHANGED, None)
    assert works(values, NEW)
    assert not works(values, PASSWORD)


def test_a_new_password_that_does_not_open_the_database_is_taken_back(
    target: tuple[Any, dict[str, Value], str],
) -> None:
    """Where the new one cannot be tried, the old one works again."""
    run, values, limit = target
    run(limit.format(1))
    try:
        outcome, why = rotate(replace(a_task(values), new_password=NEW))
    finally:
        run(limit.format(-1 if "ROLE" in limit else 0))
    assert outcome is Rotation.UNCHANGED
    assert why is not None
    assert why.finding is Finding.PASSWORD_UNCHANGED
    assert NEW not in str(why)
    assert works(values, PASSWORD)


def test_nothing_is_changed_where_the_old_password_is_wrong(
    target: tuple[Any, dict[str, Value], str],
) -> None:
    """A rotation begins with the old one; the reason is the login's."""
    _, values, _ = target
    outcome, why = rotate(replace(a_task({**values, "password": "wrong"}), new_password=NEW))
    assert outcome is Rotation.UNCHANGED
    assert why is not None
    assert (why.step, why.finding) == (Step.LOGIN, Finding.LOGIN_REFUSED)
    assert works(values, PASSWORD)


def test_a_change_without_an_answer_is_unknown(postgresql: Any) -> None:
    """A server that was asked and did not say leaves both passwords to be tried: here the old one works."""
    administrator, values = postgresql
    with administrator.transaction():
        administrator.execute(f"ALTER ROLE {USER} CONNECTION LIMIT -1")  # Holds the row of the account.
        outcome, why = rotate(a_task(values, new_password=NEW, limits=Limits(test=2.0)))
    assert outcome is Rotation.UNKNOWN
    assert why is not None
    assert why.finding is Finding.TOO_SLOW
    assert [works(values, PASSWORD), works(values, NEW)] == [True, False]


def test_a_process_that_is_killed_leaves_one_of_both(target: tuple[Any, dict[str, Value], str]) -> None:
    """Whenever it ends, the old password works or the new one."""
    _, values, _ = target
    process = TargetProcess(a_task(values, Action.ROTATE, new_password=NEW))
    messages = process.messages()
    while not isinstance(next(messages), Changing):
        pass
    process.close()
    assert works(values, PASSWORD) != works(values, NEW)


def test_the_log_of_postgresql_has_no_new_password(postgresql: Any, postgresql_log: Path) -> None:
    """Only a verifier is sent, so that a log of all statements has no password."""
    rotate(replace(a_task(postgresql[1]), new_password="Canary-logged-4Jq"))
    log = postgresql_log.read_text()
    assert f'ALTER ROLE "{USER}" PASSWORD \'SCRAM-SHA-256$' in log
    assert "Canary-logged" not in log
