"""Alert rules and the dashboard: they are valid, they fire, and they ask for metrics that a server shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from keyturn.counting.table import METRICS, Metric
from tests.databases import new_sqlite_database
from tests.journeys.processes import free_port, serving

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ALERTS, ALERTS_TEST = DEPLOY / "prometheus" / "alerts.yml", DEPLOY / "prometheus" / "alerts_test.yml"
DASHBOARD = DEPLOY / "grafana" / "keyturn.json"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
]
PANELS: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
SHOWN = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
_SELECTOR = re.compile(r"\b(keyturn_[a-z_]+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!=|=)\s*"([^"]*)"')
OF_PROMETHEUS = {"instance", "job", "le"}


def metric_of(name: str) -> Metric:
    """Return the metric that a name of a series is of."""
    bare = re.sub(r"_(bucket|count|sum)$", "", name)
    return next(metric for metric in METRICS if metric.name in {name, bare})


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of all series that a running server shows."""
    folder, port = tmp_path_factory.mktemp("monitored"), free_port()
    environment = {"KEYTURN_MANAGEMENT": f"127.0.0.1:{port}"}
    with serving(new_sqlite_database(folder), folder, environment=environment):
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=20).text
    return {re.split(r"[ {]", line)[0] for line in text.splitlines() if not line.startswith("#")}


@pytest.mark.parametrize("expression", [*(rule["expr"] for rule in RULES), *SHOWN])
def test_what_is_asked_for_is_shown_by_a_server(names: set[str], expression: str) -> None:
    """Each series of an alert and of a panel is there, with labels and values that it can have."""
    asked = _SELECTOR.findall(expression)
    assert asked or expression.startswith("up{")
    for name, matchers in asked:
        assert name in names
        labels = metric_of(name).labels
        for label, _, value in _MATCHER.findall(matchers):
            assert label in OF_PROMETHEUS or value in labels[label], f"{name} has no {label}={value}"


def test_every_metric_is_on_the_dashboard() -> None:
    """Somebody who looks at the dashboard misses no metric."""
    asked = {metric_of(name) for expression in SHOWN for name, _ in _SELECTOR.findall(expression)}
    assert [metric.name for metric in METRICS if metric not in asked] == []


def test_panels_have_room_and_names_of_their_own() -> None:
    """No panel lies over another, and none is unnamed."""
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["title"] for panel in PANELS}) == len({panel["id"] for panel in PANELS}) == len(PANELS)


@pytest.mark.parametrize("name", [rule["alert"] for rule in RULES])
def test_an_alert_says_how_bad_it_is_and_where_its_runbook_is(name: str) -> None:
    """The runbook of an alert has its name, and its summary names the server or the database."""
    (rule,) = [rule for rule in RULES if rule["alert"] == name]
    kebab = re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["runbook"] == f"docs/operate/runbooks/{kebab}.md"
    assert "$labels" in rule["annotations"]["summary"]


def test_each_alert_is_in_the_stories() -> None:
    """The story with every trouble expects as many alerts as there are."""
    _, trouble = yaml.safe_load(ALERTS_TEST.read_text())["tests"]
    (expected,) = trouble["promql_expr_test"][0]["exp_samples"]
    assert expected["value"] == len(RULES)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: install prometheus")
@pytest.mark.parametrize(("command", "file"), [("check", ALERTS), ("test", ALERTS_TEST)])
def test_promtool_takes_the_rules(command: str, file: Path) -> None:
    """Prometheus reads the rules; each fires in its story, and none at a server that is well."""
    done = subprocess.run(
        ["promtool", command, "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
