"""The test of a connection, as a ladder of its steps.

With script the steps come one after the other, as lines of JSON. Without it the answer is the page with all
of them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec
from litestar import Response
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from keyturn.adapters.findings import State, Step
from keyturn.adapters.ladder import StepResult
from keyturn.adapters.tasks import StepBegun
from keyturn.core.connections import ConnectionRecord
from keyturn.core.shown import shown
from keyturn.errors import NotFound
from keyturn.services.connections.checks import STEP_WORDS
from keyturn.web.pages.connections.fields import is_crawled
from keyturn.web.pages.connections.places import address_of, managed
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.notices import said
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.tabs import CONNECTIONS
from keyturn.web.pages.frame.views import InjectedForm, InjectedView, View
from keyturn.web.requests import AnyRequest

LINES = "application/x-ndjson"
STEPS = tuple(Step)


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder, as it is shown."""

    step: str
    words: str
    state: str = "waiting"
    """`waiting`, `begun`, `ok`, `failed` or `skipped`."""
    detail: str = ""
    took: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a test ended: a title, and a sentence below it."""

    title: str
    sentence: str
    is_ok: bool


@page("/{connection_key:str}/test", CONNECTIONS)
def ladder_page(
    connection_key: FromPath[str], view: InjectedView, notice: FromQuery[str | None] = None
) -> Response[str]:
    """Show the steps that a test takes."""
    record = _testable(view, connection_key)
    told = said("Added the connection <b>{}</b>.", connection_key) if notice == "created" else None
    return _page(view, record, [Rung(step, STEP_WORDS[step]) for step in STEPS], None, notice=told)


@form("/{connection_key:str}/test", CONNECTIONS, asks=NEVER_ASKS, again=ladder_page)
def check(connection_key: FromPath[str], request: AnyRequest, sent: InjectedForm) -> Response[Any]:
    """Take the steps, for whoever manages the connection."""
    record = _testable(sent, connection_key)
    steps = sent.services.connection_checks.test(sent.principal, connection_key, sent.origin)
    if request.headers.get("accept") == LINES:
        first = next(steps, None)  # What is refused is refused before the answer begins.
        return Stream(_lines(connection_key, chain([first] if first else [], steps)), media_type=LINES)
    results = [each for each in steps if isinstance(each, StepResult)]
    return _page(sent, record, list(map(_rung, results)), _verdict(connection_key, results))


def _testable(view: View, connection_key: str) -> ConnectionRecord:
    record = managed(view, connection_key)
    if not is_crawled(record):
        raise NotFound
    return record


def _page(
    view: View, record: ConnectionRecord, rungs: list[Rung], verdict: Verdict | None, *, notice: Any = None
) -> Response[str]:
    return view.render(
        "connections/test.html",
        connection=record,
        rungs=rungs,
        verdict=verdict,
        path=address_of(record.connection_key),
        notice=notice,
    )


def _lines(connection_key: str, steps: Iterable[StepBegun | StepResult]) -> Iterator[bytes]:
    """Yield a line of JSON for each step that begins or ends, and one for the verdict."""
    results: list[StepResult] = []
    for each in steps:
        if isinstance(each, StepResult):
            results.append(each)
            yield _line(_rung(each))
        else:
            yield _line(Rung(each.step, STEP_WORDS[each.step], "begun"))
    yield _line(_verdict(connection_key, results))


def _line(told: Rung | Verdict) -> bytes:
    return msgspec.json.encode(told) + b"\n"


def _rung(result: StepResult) -> Rung:
    took = "skipped" if result.state is State.SKIPPED else f"{result.milliseconds:,} ms"
    return Rung(result.step, STEP_WORDS[result.step], result.state.value, shown(result.detail), took)


def _verdict(connection_key: str, results: list[StepResult]) -> Verdict:
    total = f"{sum(one.milliseconds for one in results):,} ms in all"
    for number, one in enumerate(results, start=1):
        if one.state is State.FAILED:
            return Verdict(
                f"{connection_key} failed: {STEP_WORDS[one.step]}",
                f"Failed at step {number} of {len(results)}, {total}. Nothing was changed on the server.",
                is_ok=False,
            )
    return Verdict(f"{connection_key} is ready", f"All {len(results)} steps are done, {total}.", is_ok=True)
