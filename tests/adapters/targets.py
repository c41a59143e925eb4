"""Tasks for tests: on loopback, which has to be allowed, with limits that a test can wait for."""

from __future__ import annotations

from typing import Any

from keyturn.adapters.catalog import Batch
from keyturn.adapters.findings import State
from keyturn.adapters.ladder import StepResult
from keyturn.adapters.limits import Limits
from keyturn.adapters.target_process import TargetProcess, crawl, test
from keyturn.adapters.tasks import Action, Task
from keyturn.adapters.validation import Value

USER, PASSWORD = "keyturn_reader", "Canary-7hQ2mZ9fT1xD"
LOOPBACK = ("127.0.0.0/8", "::1/128")
SHORT = Limits(step=2.0, test=3.0)
PATIENT = Limits(step=30.0, test=60.0)
"""For a step that ends by itself, on a machine that has other work."""


def a_task(values: dict[str, Value], action: Action = Action.TEST, **options: Any) -> Task:
    """A task on loopback."""
    return Task(action, values, **{"allowed_networks": LOOPBACK, "limits": PATIENT, **options})


def climbed(values: dict[str, Value], **options: Any) -> list[StepResult]:
    """The steps of a test in the worker."""
    return [each for each in test(a_task(values, **options)) if isinstance(each, StepResult)]


def failing(values: dict[str, Value], **options: Any) -> StepResult:
    """The step at which a test in the worker ends."""
    return next(each for each in climbed(values, **options) if each.state is State.FAILED)


def crawled(values: dict[str, Value], **options: Any) -> list[Batch]:
    """All batches of a crawl in the worker."""
    return list(crawl(TargetProcess(a_task(values, Action.CRAWL, **options))))
