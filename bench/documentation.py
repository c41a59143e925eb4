"""How long the documentation takes: a question of somebody, and each page from a warm server."""

import json
import time
from collections.abc import Iterable
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.errors import NotMeasured
from bench.installations import new_installation
from bench.percentiles import percentile
from bench.servers import ROOT
from keyturn.documentation.library import Library, built_file

QUESTIONS = ROOT / "tests" / "documentation" / "questions.json"
QUESTIONS_A_SECOND = 3
"""A server answers 240 a minute to one address."""
ROUNDS = 3


def measure_documentation(directory: Path) -> dict[str, Any]:
    """Return the milliseconds of questions and pages; raise `NotMeasured` if the server does not start."""
    asked = json.loads(QUESTIONS.read_text())
    questions = [one["question"] for one in asked["answerable"]] + asked["unanswerable"]
    pages = Library(built_file()).contents
    installation = new_installation(directory)
    installation.add_person()
    with (
        installation.serving(directory) as server,
        # The thinnest one there is: its own time counts as the server's.
        closing(HTTPConnection("127.0.0.1", server.port)) as client,
    ):
        addresses = [page.address for page in pages]
        for address in addresses:
            _milliseconds(client, address)  # The first one is made, as the templates are.
        shown = [_milliseconds(client, address) for _ in range(ROUNDS) for address in addresses]
        answered = []
        for question in questions:
            answered.append(_milliseconds(client, f"/docs.md?ask={quote(question)}"))
            time.sleep(1 / QUESTIONS_A_SECOND)
    return {"questions": _figures(answered), "pages": _figures(shown)}


def _milliseconds(client: HTTPConnection, address: str) -> float:
    began_at = time.perf_counter()
    client.request("GET", address)
    answer = client.getresponse()
    answer.read()
    taken = (time.perf_counter() - began_at) * 1000
    if answer.status != HTTPStatus.OK:
        raise NotMeasured(f"{address} was answered with {answer.status}.")
    return taken


def _figures(taken: Iterable[float]) -> dict[str, float]:
    ascending = sorted(taken)
    return {
        "count": len(ascending),
        "p50_ms": percentile(ascending, 50),
        "p95_ms": percentile(ascending, 95),
        "longest_ms": ascending[-1],
    }
