"""Django opens its verifier at the first request: without what it opens, requests are told so, and go on."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test.utils import override_settings
from werkzeug.test import Client as WsgiClient

from keyturn import opening
from tests.databases import empty_sqlite_database, new_postgresql_database, new_sqlite_database
from tests.faults.forwarder import forwarding
from tests.integrations import django_views
from tests.integrations.conftest import issuing
from tests.integrations.sites import Options, application, running_wsgi
from tests.integrations.test_frameworks import ask as ask_asgi

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE_SECONDS = 30
"""Far less than the minute for which a verifier tries to reach a server."""
LAZY = ("django", "django-async", "django-middleware", "django-middleware-async", "rest-framework")
KEY = "kt_" + "a" * 40


@pytest.fixture(params=LAZY)
def lazy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def asking(app: Any, name: str) -> Callable[[str], tuple[int, str | None]]:
    """Return what tells status and `Retry-After` of a request with this credential."""

    def ask(credential: str) -> tuple[int, str | None]:
        if name.endswith("async"):
            answer = ask_asgi(app, credential)
            return answer.status_code, answer.headers.get("Retry-After")
        told = WsgiClient(app).get("/orders", headers={"Authorization": credential})
        return told.status_code, told.headers.get("Retry-After")

    return ask


def wait_until_open(ask: Callable[[str], tuple[int, str | None]], credential: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (told := ask(credential)) != (200, None):
        assert told == (503, "1")
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_missing_database_is_503_until_it_is_there(lazy: str, tmp_path: Path) -> None:
    """Nothing is decided without the database, and what came meanwhile is no reason to start anew."""
    folder = tmp_path / "later"
    with application(lazy, Options(empty_sqlite_database(folder))) as app:
        ask = asking(app, lazy)
        assert [ask(KEY) for _ in range(3)] == [(503, "1")] * 3
        with issuing(new_sqlite_database(folder)) as issuer:
            wait_until_open(ask, issuer.key().secret)


def test_an_unreachable_postgresql_is_503_until_it_answers(
    postgresql_server: str, root_key_file: Path
) -> None:
    """A database server that is down at the first request is asked again."""
    database = new_postgresql_database(postgresql_server)
    with issuing(database, root_key_file) as issuer, forwarding(postgresql_server) as forwarder:
        forwarder.refuse()
        address = forwarder.url(database.partition("?")[0].rpartition("/")[2])
        with application("django-middleware", Options(address)) as app:
            ask = asking(app, "django-middleware")
            assert [ask(KEY) for _ in range(3)] == [(503, "1")] * 3
            forwarder.open()
            wait_until_open(ask, issuer.key().secret)


def test_a_silent_server_elsewhere_holds_up_nobody(lazy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a server elsewhere says nothing, everybody gets 503, however many ask; and it is asked once."""
    monkeypatch.setattr(opening, "FIRST_SECONDS", 0.5)
    released = threading.Event()

    def silent(_environ: Any, start_response: Any) -> list[bytes]:
        released.wait(PATIENCE_SECONDS)
        start_response("401 Unauthorized", [])
        return []

    with (
        running_wsgi(silent) as url,
        application(lazy, Options("sqlite:////nowhere.db")),
        override_settings(KEYTURN_DATABASE=None, KEYTURN_URL=url, KEYTURN_KEY=KEY),
        ThreadPoolExecutor(4) as threads,
    ):
        app = ASGIHandler() if lazy.endswith("async") else WSGIHandler()
        ask = asking(app, lazy)
        try:
            asked = [threads.submit(ask, KEY) for _ in range(4)]
            assert [each.result(PATIENCE_SECONDS) for each in asked] == [(503, "1")] * 4
            names = [thread.name for thread in threading.enumerate()]
            assert names.count("keyturn-opening") == 1
        finally:
            released.set()
            django_views.close_verifiers()
