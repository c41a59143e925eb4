"""Every program of docs/howto/frameworks.md runs, lets in who may pass, and nobody else."""

from __future__ import annotations

import atexit
import itertools
import re
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test.utils import override_settings

from tests.integrations.django_views import close_verifiers
from tests.integrations.plain_apps import living
from tests.integrations.sites import TIMEOUT_SECONDS, Site, running_wsgi
from tests.servers import running_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integrations.issuer import Issuer

HOWTO = (Path(__file__).parents[2] / "docs" / "howto" / "frameworks.md").read_text()
BLOCKS = [
    (section.partition("\n")[0], block)
    for section in HOWTO.split("\n## ")[1:]
    for block in re.findall(r"```python[^\n]*\n(.*?)```", section, re.DOTALL)
]
PROGRAMS = {f"{heading} {number}": block for number, (heading, block) in enumerate(BLOCKS)}
SETTINGS, VIEWS = (block for heading, block in BLOCKS if heading == "Django")
_numbers = itertools.count(1)


def run(text: str, issuer: Issuer) -> dict[str, Any]:
    """Run a program, pointed at the test's database; return its names."""
    # A module of its own, since frameworks look up where a function was defined.
    module = ModuleType(f"howto_{next(_numbers)}")
    sys.modules[module.__name__] = module
    text = text.replace("sqlite:////var/lib/keyturn/keyturn.db", issuer.database)
    exec(compile(text, module.__name__, "exec"), module.__dict__)
    return module.__dict__


@contextmanager
def served(block: str, issuer: Issuer) -> Iterator[Site]:
    """Serve a program as its reader would."""
    with ExitStack() as stack:
        if block in {SETTINGS, VIEWS} or "rest_framework" in block:
            chosen = {name: value for name, value in run(SETTINGS, issuer).items() if name.isupper()}
            urls = tuple(run(VIEWS if block == SETTINGS else block, issuer)["urlpatterns"])
            if "rest_framework" in block:
                chosen["MIDDLEWARE"] = []
            stack.enter_context(override_settings(ROOT_URLCONF=urls, **chosen))
            stack.callback(close_verifiers)
            serving = running_wsgi(WSGIHandler())
        else:
            names = run(block, issuer)
            if "verifier" in names:
                stack.callback(names["verifier"].close)
                atexit.unregister(names["verifier"].close)
            is_wsgi = "start_response" in block or "flask" in block
            app = living(names["app"]) if "async def orders(scope" in block else names["app"]
            serving = running_wsgi(app) if is_wsgi else running_app(app)
        url = stack.enter_context(serving)
        client = stack.enter_context(httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, verify=False))
        yield Site("howto", client)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_lets_in_and_refuses(name: str, issuer: Issuer) -> None:
    """A living key and its token pass; nothing, a wrong, a narrow, a doubled and a revoked one do not."""
    key = issuer.key()
    credentials = (key.secret, f"Bearer {issuer.token(key)}", issuer.narrowed().secret)
    with served(PROGRAMS[name], issuer) as site:
        for credential in credentials:
            answer = site.call(credential)
            assert answer.status_code == 200, answer.text
            assert "bob" in answer.text
        assert site.get().status_code == site.call("kt_wrong").status_code == 401
        assert site.call(issuer.narrowed('["orders:write"]').secret).status_code == 403
        assert site.get(*[("Authorization", key.secret)] * 2).status_code == 400
        issuer.revoke(key)
        assert [site.call(each).status_code for each in credentials] == [401, 401, 200]


def test_every_block_is_a_program() -> None:
    """Each program of the document runs, and every integration is shown."""
    assert len(PROGRAMS) == HOWTO.count("```python")
    table = set(re.findall(r"^\| \[[^]]+\]\(#([\w-]+)\)", HOWTO, re.MULTILINE))
    assert table == {heading.lower().replace(" ", "-") for heading, _ in BLOCKS}


def test_the_middleware_closes_what_is_beside_the_handlers(issuer: Issuer) -> None:
    """With the middleware of the second FastAPI program, only the open path asks nobody."""
    _, block = [block for heading, block in BLOCKS if heading == "FastAPI"]
    with served(block, issuer) as site:
        assert site.get(path="/health").json() == {"status": "ok"}
        for path in ("/openapi.json", "/docs", "/nowhere"):
            assert site.get(path=path).status_code == 401
        assert site.call(issuer.key().secret, "/openapi.json").status_code == 200


def test_every_answer_is_in_the_table() -> None:
    """Each status that the integrations answer with has its line."""
    rows = set(re.findall(r"^\| (\d{3}) \|", HOWTO.partition("## What is answered")[2], re.MULTILINE))
    assert rows == {"400", "401", "403", "429", "503"}
