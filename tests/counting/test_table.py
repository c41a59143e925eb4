"""The table of metrics: names by the conventions of Prometheus, and labels of enumerations alone."""

from __future__ import annotations

import re

import pytest

from keyturn import errors
from keyturn.counting.table import (
    CELLS,
    METRICS,
    REFUSALS,
    Cause,
    Mark,
    Metric,
    Source,
    Type,
)
from keyturn.errors import KeyturnError, failure_name
from keyturn.store.database import causes

BY_NAME = {metric.name: metric for metric in METRICS}
UNITS = ("_total", "_seconds", "_bytes", "_info")
COUNTED_THINGS = re.compile(
    r"_(entries|connections|followers|workers|files|running|used|limit|ready|failing)"
)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_name_follows_the_conventions(name: str) -> None:
    """A counter ends in `_total`, a time in `_seconds`, a size in `_bytes`; each has one line of help."""
    metric = BY_NAME[name]
    assert re.fullmatch(r"keyturn_[a-z_]+", name)
    assert name.endswith("_total") == (metric.type is Type.COUNTER)
    assert name.endswith(UNITS) or COUNTED_THINGS.search(name)
    assert metric.type is not Type.HISTOGRAM or name.endswith("_duration_seconds")
    assert metric.help.endswith(".") or metric.help.startswith("1,")
    assert "\n" not in metric.help


def test_each_cell_is_of_one_thing() -> None:
    """No two values, and no mark, share a cell, and the memory has room for all."""
    taken = [int(mark) for mark in Mark]
    for metric in METRICS:
        if metric.source is not Source.OBSERVED:
            for labels in metric.combinations:
                first = metric.cell(*labels)
                taken += range(first, first + metric.width)
    assert sorted(taken) == list(range(CELLS))


@pytest.mark.parametrize("name", [name for name, metric in BY_NAME.items() if metric.labels])
def test_values_of_labels_are_words(name: str) -> None:
    """Every value that a label can have is known before anybody asks for anything, and none is free text."""
    for values in BY_NAME[name].labels.values():
        assert len(set(values)) == len(values)
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{2,32}", value) for value in values)


def test_another_value_is_refused() -> None:
    """What is no value of a label cannot be counted under it."""
    labelled = next(metric for metric in METRICS if metric.labels)
    with pytest.raises(KeyError):
        labelled.cell(*["kt_secret" for _ in labelled.labels])


def test_every_refusal_has_a_name_in_the_table() -> None:
    """Whatever error the log names is counted under that name."""
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, KeyturnError)
    ]
    for kind in kinds:
        made = kind.__new__(kind)
        made.args = ("text",)
        assert failure_name(made) in {*REFUSALS, "KeyturnError", "CredentialRefused", "DpopProofRefused"}
    assert {*errors.Reason, *errors.ProofFault} <= {*REFUSALS}


def test_every_cause_of_the_store_is_counted() -> None:
    """The words that the store has for its failures are those of the table."""
    told = {*causes._SQLITE_CAUSES.values(), *causes._POSTGRESQL_CAUSES.values(), *causes._WORDS}
    assert {str(cause) for cause in Cause} == {*told, "statement"}


def test_metrics_are_told_apart() -> None:
    """No name is taken twice."""
    assert len(BY_NAME) == len(METRICS)
    assert all(isinstance(metric, Metric) for metric in METRICS)
