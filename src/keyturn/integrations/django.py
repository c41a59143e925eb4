"""Django: a middleware that closes a project, `@require("orders:read")` on a view, or both.

KEYTURN_DATABASE             sqlite:///path or postgresql://…, of the server; or, of a server elsewhere,
KEYTURN_URL                  its https://…, and
KEYTURN_KEY                  a key for it, whose owner holds VERIFY_CREDENTIALS
KEYTURN_TRUSTED_PROXIES      networks whose X-Forwarded-For counts; none by default
KEYTURN_OPEN_PATHS           paths that the middleware opens to anybody, as the URLconf has them
KEYTURN_OPEN_PREFIXES        and prefixes of paths, like /static/
KEYTURN_FAILURES_PER_MINUTE  wrong credentials for each address
KEYTURN_AUDIENCE             the identifier of this service, if it is registered: only tokens for it are good
KEYTURN_PUBLIC_URL           what clients put before a path, for credentials that are bound to a key pair
"""

import atexit
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import wraps
from importlib import import_module
from typing import Any
from urllib.parse import quote

from asgiref.sync import iscoroutinefunction
from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

from keyturn.errors import CannotStart
from keyturn.integrations.open_paths import OpenPaths
from keyturn.integrations.protection import (
    UNQUOTED,
    Presented,
    Protection,
    VerifierSource,
    checked_scopes,
)
from keyturn.integrations.refusals import REFUSALS, refusal_of
from keyturn.integrations.wsgi import presented_in
from keyturn.opening import Opening
from keyturn.verifier import DEFAULT_FAILURES_PER_MINUTE, Verifier

View = Callable[..., Any]

_SETTINGS = frozenset(
    {
        "AUDIENCE",
        "DATABASE",
        "FAILURES_PER_MINUTE",
        "KEY",
        "OPEN_PATHS",
        "OPEN_PREFIXES",
        "PUBLIC_URL",
        "TRUSTED_PROXIES",
        "URL",
    }
)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The verifier that the settings ask for, in one process."""

    process: int
    address: str
    key: str | None = field(repr=False)
    failures_per_minute: int
    trusted_proxies: tuple[str, ...]
    public_url: str | None
    audience: str | None

    def open(self) -> Protection:
        """Open the verifier, until this process ends."""
        self.around(_never_asked)  # A bad setting opens nothing.
        verifier = Verifier(
            self.address,
            self.key,
            audience=self.audience,
            failures_per_minute=self.failures_per_minute,
        )
        atexit.register(verifier.close)
        return self.around(verifier)

    def around(self, verifier: VerifierSource) -> Protection:
        """Return what asks it for this project; raise `ValueError` or `TypeError` for a bad setting."""
        return Protection(verifier, trusted_proxies=self.trusted_proxies, public_url=self.public_url)


# Django makes middleware and views by their names alone: what they share can only be found from the settings.
_openings: dict[_Chosen, Opening[Protection]] = {}


@sync_and_async_middleware
def protect(get_response: View) -> View:
    """Make the middleware that passes nobody without a good credential, but on the open paths.

    The `Principal` is `request.principal`; on an open path it is None.
    """
    if faults := settings_faults():
        raise ImproperlyConfigured(" ".join(faults))
    open_paths = _open_paths()

    async def answer_async(request: HttpRequest) -> HttpResponse:
        request.principal = None
        if request.path_info not in open_paths and (refused := await _refuse_async(request, ())) is not None:
            return refused
        return await get_response(request)

    def answer(request: HttpRequest) -> HttpResponse:
        request.principal = None
        if request.path_info not in open_paths and (refused := _refuse(request, ())) is not None:
            return refused
        return get_response(request)

    return answer_async if iscoroutinefunction(get_response) else answer


def require(*scopes: str) -> Callable[[View], View]:
    """Let only those call a view whose credential is good and covers these scopes.

    For views, sync or async, with the middleware or without. The `Principal` is `request.principal`.
    """
    needed = checked_scopes(scopes)
    if settings.configured and (faults := _unknown_settings()):
        raise ImproperlyConfigured(" ".join(faults))

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
    """Return what the settings ask for, opened at the first request of this process: after any fork.

    Raise `StoreUnavailable` while it cannot be opened, as without the database or the server elsewhere.
    """
    return _opening().get()


def _opening() -> Opening[Protection]:
    """Return what opens what the settings ask for; no lock is held that a fork might copy."""
    chosen = _chosen()
    found = _openings.get(chosen)
    return _openings.setdefault(chosen, Opening(chosen.open)) if found is None else found


def presented_to(request: HttpRequest) -> Presented:
    """Read what the request says of its caller; Django joins header lines with commas under ASGI too."""
    presented = presented_in(request.META)
    return replace(  # In META, ASGI has them in other ways.
        presented,
        path=quote(request.path, safe=UNQUOTED),
        routed_path=quote(request.path_info, safe=UNQUOTED),
        routed_method=request.method,
    )


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
        opened = await _opening().get_async()
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


def settings_faults() -> list[str]:
    """Return what is wrong with the settings, in sentences; nothing is opened for that."""
    faults = _unknown_settings()
    try:
        _chosen().around(_never_asked)
        _open_paths()
    except (ImproperlyConfigured, TypeError, ValueError) as error:
        faults.append(f"The KEYTURN_… settings cannot be used: {error}")
    return faults


def _unknown_settings() -> list[str]:
    """Return a sentence for each setting that is none of ours: a mistyped one would open or close nothing."""
    known = {f"KEYTURN_{name}" for name in _SETTINGS}
    faults = []
    for name in sorted(name for name in dir(settings) if name.startswith("KEYTURN_") and name not in known):
        meant = get_close_matches(name, known, n=1)
        hint = f": {meant[0]} is meant?" if meant else "."
        faults.append(f"There is no setting {name}{hint}")
    return faults


def _chosen() -> _Chosen:
    database, url, key = _setting("DATABASE", None), _setting("URL", None), _setting("KEY", None)
    if bool(database) == bool(url):
        raise ImproperlyConfigured("give either KEYTURN_DATABASE, or KEYTURN_URL and KEYTURN_KEY.")
    if bool(url) != bool(key):
        raise ImproperlyConfigured("KEYTURN_URL and KEYTURN_KEY go together.")
    return _Chosen(
        os.getpid(),
        url or database,
        key,
        _setting("FAILURES_PER_MINUTE", DEFAULT_FAILURES_PER_MINUTE),
        _listed("TRUSTED_PROXIES"),
        _setting("PUBLIC_URL", None),
        _setting("AUDIENCE", None),
    )


def _open_paths() -> OpenPaths:
    return OpenPaths(_listed("OPEN_PATHS"), _listed("OPEN_PREFIXES"))


def _listed(name: str) -> tuple[str, ...]:
    given = _setting(name, ())
    if isinstance(given, str):
        raise TypeError(f"KEYTURN_{name} is a list.")
    return tuple(given)


def _never_asked() -> Verifier:
    raise CannotStart("This verifier only stands for one while the settings are looked at.")


def _setting(name: str, default: Any) -> Any:
    return getattr(settings, f"KEYTURN_{name}", default)


class KeyturnConfig(AppConfig):
    """For INSTALLED_APPS: `manage.py check` looks at the settings, and drf-spectacular learns the scheme."""

    name = "keyturn.integrations.django"
    label = "keyturn"

    def ready(self) -> None:
        """Register both, now that every application is there."""
        checks.register(_check)
        if apps.is_installed("drf_spectacular"):
            import_module("keyturn.integrations.spectacular")


def _check(**_options: Any) -> list[checks.CheckMessage]:
    return [checks.Error(fault, id="keyturn.E001") for fault in settings_faults()]
