"""Requests per second and core, of all targets in turn, round after round.

All servers run during the whole run, the idle ones costing nothing, and each round asks every target
once: what the machine does besides meets all of them alike. A target's ratio is the median over the
rounds of its figure by the bare server's of the same round.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.errors import NotMeasured, reason_of
from bench.load import Load, apply_load
from bench.starters import STARTERS, Started
from bench.targets import BASELINE, CONNECTIONS, Target, Verdict, accepts, refuses, spoiled
from bench.wire import Request, ask_once


@dataclass(frozen=True, slots=True)
class Plan:
    """How much load, and for how long."""

    rounds: int
    seconds: int
    warm_up_seconds: int


@dataclass(slots=True)
class Course:
    """What became of one target so far."""

    target: Target
    runs: list[Load | None] = field(default_factory=list)
    """One for each round; None where a round failed."""
    not_measured: str | None = None
    """Why there are no figures."""


def measure_throughput(targets: Sequence[Target], plan: Plan, directory: Path) -> dict[str, Any]:
    """Measure the targets; one that cannot be measured is in the result with its reason."""
    courses = [Course(target) for target in targets]
    with ExitStack() as stack:
        started = _start(courses, directory, stack)
        for course in courses:
            if course.not_measured is None:
                with _reason_of(course):
                    _try_out(course.target, started[course.target.server])
        for number in range(1, plan.rounds + 1):
            for course in courses:
                _run_once(course, started, plan, number)
    baseline = next((course for course in courses if course.target.name == BASELINE), None)
    return {
        "connections": CONNECTIONS,
        **asdict(plan),
        "targets": [_summary(course, baseline) for course in courses],
    }


def _start(courses: Sequence[Course], directory: Path, stack: ExitStack) -> Mapping[str, Started]:
    """Start what the targets need, each server once."""
    started: dict[str, Started] = {}
    reasons: dict[str, str] = {}
    for course in courses:
        name = course.target.server
        if name not in started and name not in reasons:
            place = directory / name
            place.mkdir()
            with _reason_of(course):
                started[name] = stack.enter_context(STARTERS[name](place))
                _say(f"started {name}")
            if course.not_measured is not None:
                reasons[name] = course.not_measured
        course.not_measured = reasons.get(name)
    return started


def _try_out(target: Target, server: Started) -> None:
    """Check that the target tells a good credential from a bad one; raise `NotMeasured` if it does not."""
    request = target.request(server.credentials)
    answer = ask_once(server.port, request)
    if target.is_refused:
        if not refuses(target, answer):
            raise NotMeasured(f"an unknown credential was answered with {answer.status}")
        return
    if not accepts(target, answer):
        raise NotMeasured(f"the good credential was answered with {answer.status}")
    if target.verdict is Verdict.NONE:
        return
    bad = _with_spoiled(target, server)
    answer = ask_once(server.port, bad)
    if not refuses(target, answer):
        raise NotMeasured(f"a bad credential was answered with {answer.status}")


def _with_spoiled(target: Target, server: Started) -> Request:
    wrong = {**server.credentials, target.credential: spoiled(server.credentials[target.credential])}
    return target.request(wrong)


def _run_once(course: Course, started: Mapping[str, Started], plan: Plan, number: int) -> None:
    if course.not_measured is not None:
        return
    target = course.target
    server = started[target.server]
    request = target.request(server.credentials)
    try:
        if plan.warm_up_seconds:
            apply_load(server.port, [request], connections=target.connections, seconds=plan.warm_up_seconds)
        load = apply_load(server.port, [request], connections=target.connections, seconds=plan.seconds)
    except NotMeasured as error:
        _say(f"round {number}: {target.name}: {error}")
        course.runs.append(None)
        return
    course.runs.append(load)
    _say(f"round {number}: {target.name}: {load.requests_per_second:,.0f}/s, p99 {load.p99_ms:.1f} ms")
    expected = load.requests if target.is_refused else 0
    if load.error_statuses != expected:
        course.not_measured = (
            f"in round {number}, {load.error_statuses} of {load.requests} answers had an error status"
        )


def _summary(course: Course, baseline: Course | None) -> dict[str, Any]:
    """Return a target's part of the results."""
    target = course.target
    described = {
        "name": target.name,
        "title": target.title,
        "group": target.group.value,
        "connections": target.connections,
    }
    runs = [None if run is None else asdict(run) for run in course.runs]
    measured = [run for run in course.runs if run is not None]
    if course.not_measured is not None or not measured:
        reason = course.not_measured or "no round was measured"
        return {**described, "not_measured": reason, "runs": runs}
    rates = [run.requests_per_second for run in measured]
    return {
        **described,
        "requests_per_second": {"median": median(rates), "min": min(rates), "max": max(rates)},
        "ratio_to_bare": _ratio(course, baseline),
        "p50_ms": median(run.p50_ms for run in measured),
        "p99_ms": median(run.p99_ms for run in measured),
        "failures": sum(run.failures for run in measured),
        "runs": runs,
    }


def _ratio(course: Course, baseline: Course | None) -> float | None:
    """Return the median ratio to the bare server of the same round; None if there is no such round."""
    if baseline is None or baseline.not_measured is not None:
        return None
    ratios = [
        run.requests_per_second / bare.requests_per_second
        for run, bare in zip(course.runs, baseline.runs, strict=False)
        if run is not None and bare is not None
    ]
    return median(ratios) if ratios else None


@contextmanager
def _reason_of(course: Course) -> Iterator[None]:
    """Turn what goes wrong within into the reason why this target has no figures."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - one peer's defect must not end the run of all
        course.not_measured = reason_of(error)
    if course.not_measured is not None:
        _say(f"{course.target.name} is not measured: {course.not_measured}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
