"""Django: a middleware that closes a project, `@require("orders:read")` on a view, or both.

KEYTURN_DATABASE             sqlite:///path or postgresql://…, of the server
KEYTURN_TRUSTED_PROXIES      networks whose X-Forwarded-For counts; none by default
KEYTURN_OPEN_PATHS           paths that the middleware opens to anybody
KEYTURN_OPEN_PREFIXES        and prefixes of paths, like /static/
KEYTURN_FAILURES_PER_MINUTE  wrong credentials for each address
KEYTURN_AUDIENCE             the identifier of this service, if it is registered: only tokens for it are good
KEYTURN_PUBLIC_URL           what clients put before a path, for credentials that are bound to a key pair
"""

import asyncio
import atexit
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import wraps
from typing import Any
from urllib.parse import quote

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

from keyturn.integrations.open_paths import OpenPaths
from keyturn.integrations.protection import Presented, Protection, checked_scopes
from keyturn.integrations.refusals import REFUSALS, refusal_of
from keyturn.integrations.wsgi import UNQUOTED, presented_in
from keyturn.verifier import DEFAULT_FAILURES_PER_MINUTE, Verifier

View = Callable[..., Any]

# Django makes middleware and views by their names alone: what they share can only be found from the settings.
_opened: dict[tuple[object, ...], Protection] = {}
_opening = threading.Lock()


@sync_and_async_middleware
def protect(get_response: View) -> View:
    """Make the middleware that passes nobody without a good credential, but on the open paths.

    The `Principal` is `request.principal`; on an open path it is None.
    """
    open_paths = OpenPaths(_setting("OPEN_PATHS", ()), _setting("OPEN_PREFIXES", ()))

    async def answer_async(request: HttpRequest) -> HttpResponse:
        request.principal = None
        if request.path not in open_paths and (refused := await _refuse_async(request, ())) is not None:
            return refused
        return await get_response(request)

    def answer(request: HttpRequest) -> HttpResponse:
        request.principal = None
        if request.path not in open_paths and (refused := _refuse(request, ())) is not None:
            return refused
        return get_response(request)

    return answer_async if iscoroutinefunction(get_response) else answer


def require(*scopes: str) -> Callable[[View], View]:
    """Let only those call a view whose credential is good and covers these scopes.

    For views, sync or async, with the middleware or without. The `Principal` is `request.principal`.
    """
    needed = checked_scopes(scopes)

    def decorate(view: View) -> View:
        @wraps(view)
        async def guarded_async(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            refused = await _refuse_async(request, needed)
            return refused if refused is not None else await view(request, *args, **kwargs)

        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            refused = _refuse(request, needed)
            return refused if refused is not None else view(request, *args, **kwargs)

        chosen: Any = guarded_async if iscoroutinefunction(view) else guarded
        # A browser never adds `Authorization` to a form of somebody else's page.
        chosen.csrf_exempt = True
        return chosen

    return decorate


def protection() -> Protection:
    """Return what the settings ask for, opened at the first request of this process: after any fork."""
    name = _name()
    with _opening:
        if name not in _opened:
            _pid, database, failures, proxies, public_url, audience = name
            verifier = Verifier(database, audience=audience, failures_per_minute=failures)
            atexit.register(verifier.close)
            _opened[name] = Protection(verifier, trusted_proxies=proxies, public_url=public_url)
        return _opened[name]


def presented_to(request: HttpRequest) -> Presented:
    """Read what the request says of its caller; Django joins header lines with commas under ASGI too."""
    presented = presented_in(request.META)
    return replace(presented, path=quote(request.path, safe=UNQUOTED))  # In META, ASGI has it in other ways.


def _refuse(request: HttpRequest, scopes: tuple[str, ...]) -> HttpResponse | None:
    """Note who calls, or return what to answer instead."""
    try:
        request.principal = protection().check(presented_to(request), scopes)
    except REFUSALS as error:
        return _answer(error)
    return None


async def _refuse_async(request: HttpRequest, scopes: tuple[str, ...]) -> HttpResponse | None:
    """Do what `_refuse` does, with any look into the database in a thread."""
    try:
        opened = _opened.get(_name())
        if opened is None:
            starting = ThreadPoolExecutor(1, "keyturn-start")  # None of the application's threads.
            opening = asyncio.get_running_loop().run_in_executor(starting, protection)
            starting.shutdown(wait=False)
            opened = await opening
        request.principal = await opened.check_async(presented_to(request), scopes)
    except REFUSALS as error:
        return _answer(error)
    return None


def _answer(error: Exception) -> HttpResponse:
    refusal = refusal_of(error)
    return HttpResponse(
        refusal.encoded(),
        status=int(refusal.status),
        headers=refusal.headers(),
        content_type="application/json",
    )


def _name() -> tuple[int, str, int, tuple[str, ...], str | None, str | None]:
    failures = _setting("FAILURES_PER_MINUTE", DEFAULT_FAILURES_PER_MINUTE)
    proxies = tuple(_setting("TRUSTED_PROXIES", ()))
    public_url, audience = _setting("PUBLIC_URL", None), _setting("AUDIENCE", None)
    return os.getpid(), settings.KEYTURN_DATABASE, failures, proxies, public_url, audience


def _setting(name: str, default: Any) -> Any:
    return getattr(settings, f"KEYTURN_{name}", default)
