"""Expand first, contract a version later: every migration says its kind and does no more than that."""

from __future__ import annotations

import ast
import inspect as source_of
from typing import TYPE_CHECKING

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from keyturn import __version__
from keyturn.errors import CannotStart
from keyturn.store import Store, open_engine
from keyturn.store.database import migrations
from keyturn.store.database.migrations import (
    _config,
    all_steps,
    check_current,
    check_older_servers_go_on,
    current_version,
    migrate,
    newest_version,
    plan_upgrade,
)
from keyturn.store.database.migrations.steps import (
    BEFORE_THE_RULE,
    RELEASES,
    Plan,
    Step,
    StepKind,
)
from keyturn.store.database.schema import metadata
from tests.store.database.test_migrations import fill_as_0002

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from sqlalchemy import Engine

ADDING = {"create_table", "create_index", "drop_index", "add_column", "f"}
"""What older servers do not notice; a query whose index is gone is slower and answers the same."""
MAY = {
    StepKind.EXPAND: ADDING,
    StepKind.FILL: {"execute", "get_bind", "f"},
    StepKind.CONTRACT: {"drop_table", "drop_column", "drop_constraint", "alter_column", "execute", "f"}
    | {"batch_alter_table", "create_index"},
}
SCRIPTS = {
    script.revision: script.module for script in ScriptDirectory.from_config(_config()).walk_revisions()
}
RULED = sorted(revision for revision in SCRIPTS if revision > BEFORE_THE_RULE)
NEXT = "9998"
"""A step of a program that is newer than this one."""


def operations_of(script: ModuleType) -> list[ast.Call]:
    """Return the calls `op.…(…)` of a migration."""
    calls = [node for node in ast.walk(ast.parse(source_of.getsource(script))) if isinstance(node, ast.Call)]
    return [call for call in calls if isinstance(call.func, ast.Attribute) and _is_op(call.func.value)]


def _is_op(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "op"


def name_of(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Attribute)
    return call.func.attr


def faults_of(script: ModuleType) -> list[str]:
    """Return what a migration does that its kind does not allow."""
    step = Step.of(script)
    faults = [name for call in operations_of(script) if (name := name_of(call)) not in MAY[step.kind]]
    made = [call.args[0] for call in operations_of(script) if name_of(call) == "create_table"]
    new = {table.value for table in made if isinstance(table, ast.Constant)}
    for call in operations_of(script):
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        if name_of(call) == "create_index":
            table = call.args[1]
            on = table.value if isinstance(table, ast.Constant) else None
            if on not in new and on not in step.rows_of:
                faults.append(f"rows_of without {on}, whose rows a new index goes through")
            if step.kind is StepKind.EXPAND and on not in new and given.get("unique") == "True":
                faults.append("a unique index, which refuses what older servers write")
        if name_of(call) == "add_column":
            column = ast.unparse(call.args[1])
            if "nullable=False" in column and "server_default" not in column:
                faults.append("a column that older servers do not fill")
    if step.kind is StepKind.CONTRACT and not hasattr(script, "needs"):
        faults.append("no needs")
    return faults


def test_every_migration_says_its_kind() -> None:
    """Each file is of one of three kinds, and names tables that are or were there."""
    assert [step.revision for step in all_steps()] == sorted(SCRIPTS)
    for step in all_steps():
        assert step.title, step
        assert (step.needs is not None) == (step.kind is StepKind.CONTRACT), step
        assert set(step.rows_of) <= set(metadata.tables), step


@pytest.mark.parametrize("revision", RULED)
def test_a_migration_does_what_its_kind_allows(revision: str) -> None:
    """Since the rule, an expansion only adds, and a contraction says whose servers have stopped."""
    assert faults_of(SCRIPTS[revision]) == []


def test_a_migration_that_breaks_the_rule_is_found() -> None:
    """The test itself can fail: those before the rule mix kinds, and some of them are found."""
    broken = {revision for revision in SCRIPTS if revision not in RULED and faults_of(SCRIPTS[revision])}
    assert {"0003", "0008", "0018"} <= broken


def test_a_contraction_comes_a_version_after_what_it_needs() -> None:
    """Servers that no longer use what ends are of a version that was released before: `needs` is no newer."""
    released = {schema for version, schema in RELEASES.items() if version != __version__}
    for revision in RULED:
        step = Step.of(SCRIPTS[revision])
        assert step.needs is None or any(step.needs <= schema < revision for schema in released), step


def test_this_version_has_its_schema_in_the_table_of_releases() -> None:
    """What the next version may contract, and which version may not be skipped, is read from it."""
    assert RELEASES[__version__] == newest_version()
    assert list(RELEASES.values()) == sorted(RELEASES.values())


@pytest.fixture
def engine(empty_database: str) -> Iterator[Engine]:
    engine = open_engine(empty_database)
    try:
        yield engine
    finally:
        engine.dispose()


def as_a_newer_program(engine: Engine, needs: str | None) -> None:
    """Leave the database as a newer version leaves it, with a step that this program does not know."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": NEXT})
        connection.execute(
            text("INSERT INTO schema_step (revision, needs) VALUES (:revision, :needs)"),
            {"revision": NEXT, "needs": needs},
        )


@pytest.mark.parametrize("needs", [None, BEFORE_THE_RULE])
def test_a_program_works_on_after_a_newer_one_expanded_its_database(
    engine: Engine, needs: str | None
) -> None:
    """During a rolling upgrade a server of the older version starts anew, and changes no schema."""
    migrate(engine)
    as_a_newer_program(engine, needs)

    check_current(engine)
    check_older_servers_go_on(engine)
    migrate(engine)

    assert plan_upgrade(engine) == Plan(NEXT, NEXT, (), {})
    assert current_version(engine) == NEXT
    assert Store(engine).integrity_problems() == []


def test_a_program_refuses_a_database_that_a_newer_one_contracted(engine: Engine) -> None:
    """U3: where what this program uses is gone, or no step says that it is not, nothing is touched."""
    migrate(engine)
    as_a_newer_program(engine, "9997")
    for refused in (check_current, migrate, plan_upgrade):
        with pytest.raises(CannotStart, match="newer than this program"):
            refused(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM schema_step WHERE revision = :next"), {"next": NEXT})
    with pytest.raises(CannotStart, match="newer than this program"):
        check_current(engine)


def test_each_step_that_was_taken_is_written_down(engine: Engine) -> None:
    """The database says of every step of its schema whose servers go on."""
    fill_as_0002(engine)
    migrate(engine)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT revision, needs FROM schema_step"))
        found = {row.revision: row.needs for row in rows}
    assert found == {step.revision: step.needs for step in all_steps() if step.revision > "0002"}


def test_the_plan_counts_the_rows_that_it_goes_through(engine: Engine) -> None:
    """Of a database of version 0002: every later step, two rows of the audit log, servers that must stop."""
    fill_as_0002(engine)
    plan = plan_upgrade(engine)
    assert (plan.before, plan.after, plan.needs) == ("0002", newest_version(), "0018")
    assert [step.revision for step in plan.steps] == [r for r in sorted(SCRIPTS) if r > "0002"]
    assert plan.rows["audit"] == 2
    assert plan.rows_in(next(step for step in plan.steps if step.revision == "0003")) == 7
    with pytest.raises(CannotStart, match="keyturn admin upgrade --stopped"):
        check_older_servers_go_on(engine)


def step(revision: str, needs: str | None = None, rows_of: tuple[str, ...] = ()) -> Step:
    return Step(revision, "", StepKind.EXPAND if needs is None else StepKind.CONTRACT, needs, rows_of)


@pytest.mark.parametrize(
    ("before", "steps", "needs", "way"),
    [
        ("0022", [step("0023"), step("0024")], None, None),
        ("0023", [step("0024", needs="0023")], None, None),
        ("0022", [step("0023"), step("0024", needs="0023")], "0023", "0.3.0"),
        ("0021", [step("0022", needs="0022"), step("0023"), step("0024", needs="0023")], "0023", None),
        (None, [step("0022", needs="0022"), step("0024", needs="0023")], None, None),
    ],
)
def test_a_version_that_may_not_be_skipped_is_named(
    monkeypatch: pytest.MonkeyPatch, before: str | None, steps: list[Step], needs: str | None, way: str | None
) -> None:
    """Over the version between, which stopped using what ends, no server has to stop; if there is such."""
    monkeypatch.setattr(migrations.steps, "RELEASES", {"0.2.0": "0022", "0.3.0": "0023", "0.4.0": "0024"})
    plan = Plan(before, steps[-1].revision, steps, {})
    assert (plan.needs, plan.way_between) == (needs, way)


def test_a_plan_takes_a_second_at_least_and_longer_for_more_rows() -> None:
    """The time follows from the rows of the tables that the steps go through, each as often as it does."""
    steps = [step("0023", rows_of=("audit",)), step("0024", rows_of=("audit", "session"))]
    assert Plan("0022", "0024", steps, {}).seconds == 1
    assert Plan("0022", "0024", steps, {"audit": 1_000_000, "session": 1}).seconds == 21
