"""The service in Django: one project in this process, opened with the settings of each integration."""

from __future__ import annotations

import atexit
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import JsonResponse
from django.test.utils import override_settings
from django.urls import path

from keyturn import StoreUnavailable
from keyturn.integrations import django as for_django
from tests.integrations.plain_apps import living

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework"],
        SECRET_KEY="of the tests",
    )
    django.setup()

from rest_framework.response import Response
from rest_framework.views import APIView

from keyturn.integrations import rest_framework

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integrations.sites import Options

SCOPE = "orders:read"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
PROTECT = "keyturn.integrations.django.protect"


def tell(request: Any) -> JsonResponse:
    caller = getattr(request, "principal", None)
    return JsonResponse({"for": caller.userid if caller else None})


async def tell_async(request: Any) -> JsonResponse:
    return tell(request)


class Orders(APIView):
    authentication_classes = [rest_framework.KeyturnAuthentication]  # noqa: RUF012 - as its users write it
    permission_classes = [rest_framework.require(SCOPE)]  # noqa: RUF012

    def get(self, request: Any) -> Response:
        assert request.user.is_authenticated
        return Response({"for": request.auth.userid})


class WhoAmI(Orders):
    permission_classes = [rest_framework.require()]  # noqa: RUF012


def _urls(orders: Any, whoami: Any) -> tuple[Any, ...]:
    opened = (path("health", tell), path("static/<path:name>", lambda request, name: tell(request)))
    return (path("orders", orders), path("whoami", whoami), *opened)


# What each is: the middleware, the routes, and whether Django runs under ASGI.
_PROJECTS: dict[str, tuple[list[str], tuple[Any, ...], bool]] = {
    "django": ([CSRF], _urls(for_django.require(SCOPE)(tell), for_django.require()(tell)), False),
    "django-async": (
        [CSRF],
        _urls(for_django.require(SCOPE)(tell_async), for_django.require()(tell_async)),
        True,
    ),
    "django-middleware": ([PROTECT], _urls(for_django.require(SCOPE)(tell), tell), False),
    "django-middleware-async": (
        [PROTECT],
        _urls(for_django.require(SCOPE)(tell_async), tell_async),
        True,
    ),
    "rest-framework": ([], _urls(Orders.as_view(), WhoAmI.as_view()), False),
}


def close_verifiers() -> None:
    """Close what the integration keeps for the life of a process."""
    while for_django._openings:
        with suppress(StoreUnavailable):  # It was never opened.
            verifier = for_django._openings.popitem()[1].get()._opened()
            atexit.unregister(verifier.close)
            verifier.close()


@contextmanager
def application(name: str, options: Options) -> Iterator[Any]:
    """Open the project of this name, and close the verifier that it opened."""
    middleware, urls, is_async = _PROJECTS[name]
    chosen = {
        "KEYTURN_DATABASE": options.database,
        "KEYTURN_FAILURES_PER_MINUTE": options.failures_per_minute,
        "KEYTURN_TRUSTED_PROXIES": options.trusted_proxies,
        "KEYTURN_PUBLIC_URL": options.public_url,
        "KEYTURN_AUDIENCE": options.audience,
        "KEYTURN_OPEN_PATHS": ["/health"],
        "KEYTURN_OPEN_PREFIXES": ["/static/"],
    }
    with override_settings(MIDDLEWARE=middleware, ROOT_URLCONF=urls, **chosen):
        try:
            yield living(ASGIHandler()) if is_async else WSGIHandler()
        finally:
            close_verifiers()
