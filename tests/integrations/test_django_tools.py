"""What Django's projects use beside it: `manage.py check`, error formatters, permissions, and schemas."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.test.utils import override_settings
from django.urls import path
from rest_framework import permissions
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView, exception_handler

from keyturn import CredentialRefused, Reason, ScopeMissing, StoreUnavailable, TooManyFailures
from keyturn.core.permissions import Permission
from keyturn.errors import AmbiguousCredential, KeyturnError
from keyturn.integrations import django, rest_framework
from keyturn.integrations.refusals import refusal_of
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.integrations import django_views
from tests.integrations.sites import Options, application
from tests.servers import running_server
from tests.strays import KEY, everything_said, tells

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integrations.issuer import Issuer

OURS = [rest_framework.KeyturnAuthentication]
DATABASE = "sqlite:////nowhere.db"


# Errors


ERRORS: tuple[tuple[KeyturnError, str], ...] = (
    (CredentialRefused(Reason.MISSING), "not_authenticated"),
    (CredentialRefused(Reason.UNKNOWN), "authentication_failed"),
    (ScopeMissing("orders:read"), "permission_denied"),
    (AmbiguousCredential("Send one."), "parse_error"),
    (TooManyFailures(retry_after=7), "throttled"),
    (StoreUnavailable("gone"), "unavailable"),
)


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda part: str(part)[:20])
def test_fault_g2_a_refusal_has_codes(error: KeyturnError, code: str) -> None:
    """The framework's ways to look into an error find message and code, whatever the refusal is."""
    refused, refusal = rest_framework.Refused(error), refusal_of(error)
    assert (refused.get_codes(), str(refused)) == (code, refusal.message)
    assert refused.get_full_details() == {"message": refusal.message, "code": code}
    for value in refused.detail.values():
        assert value.code == code
    answer = exception_handler(refused, {})
    assert json.loads(json.dumps(answer.data)) == refusal.body()


class Orders(APIView):
    authentication_classes = OURS
    permission_classes = [rest_framework.require("orders:read")]  # noqa: RUF012 - as its users write it

    def get(self, request: Any) -> Response:
        return Response({"for": request.auth.userid})


def test_fault_g2_other_formatters_of_errors(issuer: Issuer) -> None:
    """drf-standardized-errors formats our refusals like the framework's own, with status and challenge."""
    from drf_standardized_errors.handler import (  # noqa: PLC0415 - reads Django's settings when imported
        exception_handler as standardized,
    )

    class Standardized(Orders):
        def get_exception_handler(self) -> Any:
            return standardized

    with application("rest-framework", Options(issuer.database)):
        for credential, status, code in (
            ("", 401, "not_authenticated"),
            ("kt_wrong", 401, "authentication_failed"),
            (issuer.narrowed('["orders:write"]').secret, 403, "permission_denied"),
        ):
            request = APIRequestFactory().get("/orders", headers={"Authorization": credential})
            answer = Standardized.as_view()(request).render()
            told = json.loads(answer.content)
            assert (answer.status_code, told["type"]) == (status, "client_error")
            assert told["errors"][0]["code"] == code
            assert "WWW-Authenticate" in answer


# Permissions


STOCK = [
    each
    for each in vars(permissions).values()
    if isinstance(each, type)
    and issubclass(each, permissions.BasePermission)
    and each.__module__ == permissions.__name__
]


def test_the_walk_finds_the_stock_permissions() -> None:
    """Every permission class of the framework is tried."""
    assert {"IsAdminUser", "DjangoModelPermissions", "DjangoObjectPermissions"} <= {
        each.__name__ for each in STOCK
    }


@pytest.mark.parametrize("stock", STOCK, ids=lambda each: each.__name__)
def test_fault_g2_stock_permissions_decide(issuer: Issuer, stock: type[Any]) -> None:
    """They let a caller through or answer 403, for reading and writing, and never fail."""
    from django.contrib.auth.models import Group  # noqa: PLC0415 - needs Django's settings

    class View(APIView):
        authentication_classes = OURS
        permission_classes = [stock]  # noqa: RUF012
        queryset = Group.objects.none()

        def get(self, request: Any) -> Response:
            self.check_object_permissions(request, Group(name="readers"))
            return Response({"for": request.auth.userid})

        post = delete = get

    needs_django = stock.__name__ == "IsAdminUser"
    needs_to_write = stock.__name__.startswith("Django")
    with application("rest-framework", Options(issuer.database)):
        headers = {"Authorization": issuer.key().secret}
        for method, is_refused in (
            ("get", needs_django),
            ("post", needs_django or needs_to_write),
            ("delete", needs_django or needs_to_write),
        ):
            answer = View.as_view()(getattr(APIRequestFactory(), method)("/", headers=headers))
            assert answer.status_code == (403 if is_refused else 200), (stock, method)


# Schemas


def test_fault_g2_a_schema_shows_the_scheme(tmp_path: Path) -> None:
    """drf-spectacular describes the scheme, and each operation that needs it, once the app is installed."""
    program = """
import django, json
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework", "drf_spectacular",
                    "keyturn.integrations.django.KeyturnConfig"],
    KEYTURN_DATABASE="sqlite:////nowhere.db", SECRET_KEY="x", ROOT_URLCONF="views",
    REST_FRAMEWORK={
        "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
        "DEFAULT_AUTHENTICATION_CLASSES": ["keyturn.integrations.rest_framework.KeyturnAuthentication"],
    },
)
django.setup()
from drf_spectacular.generators import SchemaGenerator
print(json.dumps(SchemaGenerator().get_schema(request=None, public=True), default=str))
"""
    (tmp_path / "views.py").write_text(
        "from django.urls import path\n"
        "from rest_framework.response import Response\n"
        "from rest_framework.views import APIView\n"
        "from keyturn.integrations.rest_framework import require\n"
        "class Orders(APIView):\n"
        "    permission_classes = [require('orders:read')]\n"
        "    serializer_class = None\n"
        "    def get(self, request):\n"
        "        return Response({})\n"
        "urlpatterns = [path('orders', Orders.as_view())]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path
    )
    described = json.loads(done.stdout)
    scheme = described["components"]["securitySchemes"]["Keyturn"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert described["paths"]["/orders"]["get"]["security"] == [{"Keyturn": []}]
    assert "could not resolve authenticator" not in done.stderr


# Settings


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "mistyped": ({"KEYTURN_OPEN_PATH": ["/health"]}, "KEYTURN_OPEN_PATHS is meant"),
    "unknown": ({"KEYTURN_WHATEVER": 1}, "There is no setting KEYTURN_WHATEVER"),
    "neither": ({"KEYTURN_DATABASE": None}, "either KEYTURN_DATABASE"),
    "both": ({"KEYTURN_URL": "https://keys.example.com", "KEYTURN_KEY": KEY}, "either KEYTURN_DATABASE"),
    "a key alone": ({"KEYTURN_KEY": KEY}, "go together"),
    "no key": ({"KEYTURN_DATABASE": None, "KEYTURN_URL": "https://keys.example.com"}, "go together"),
    "a text": ({"KEYTURN_OPEN_PATHS": "/health"}, "KEYTURN_OPEN_PATHS is a list"),
    "a path": ({"KEYTURN_OPEN_PATHS": ["health"]}, "begins with a slash"),
    "a prefix": ({"KEYTURN_OPEN_PREFIXES": ["/"]}, "not a prefix"),
    "a proxy": ({"KEYTURN_TRUSTED_PROXIES": ["proxy"]}, "not a network"),
    "an address": ({"KEYTURN_PUBLIC_URL": "api.example.com"}, "not a public_url"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_fault_g3_a_mistake_in_the_settings_is_found(mistake: str) -> None:
    """`check` and the start of the middleware say what is wrong with a setting, and nothing of the key."""
    chosen, sentence = MISTAKES[mistake]
    with override_settings(**{"KEYTURN_DATABASE": DATABASE, **chosen}):
        (fault,) = django._check()
        assert sentence in fault.msg
        with pytest.raises(ImproperlyConfigured, match=sentence) as refused:
            django.protect(lambda request: request)
        assert not tells(fault.msg + everything_said(refused.value))


def test_fault_g3_a_mistyped_setting_stops_views_too() -> None:
    """Without the middleware, where a view is decorated says that a setting is mistyped."""
    with override_settings(KEYTURN_OPEN_PATH=["/health"]), pytest.raises(ImproperlyConfigured):
        django.require("orders:read")


def test_fault_g3_manage_check_finds_a_mistyped_setting(tmp_path: Path) -> None:
    """`manage.py check` of a project fails with a mistyped setting, and passes without it."""
    (tmp_path / "project.py").write_text(
        "INSTALLED_APPS = ['keyturn.integrations.django.KeyturnConfig']\n"
        "MIDDLEWARE = ['keyturn.integrations.django.protect']\n"
        "KEYTURN_DATABASE = 'sqlite:////nowhere.db'\n"
        "SECRET_KEY = 'x'\n"
        "ROOT_URLCONF = 'urls'\n"
    )
    (tmp_path / "urls.py").write_text("urlpatterns = []\n")
    (tmp_path / "mistyped.py").write_text("from project import *\nKEYTURN_OPEN_PATH = ['/health']\n")
    for module, code in (("project", 0), ("mistyped", 1)):
        done = subprocess.run(
            [sys.executable, "-m", "django", "check", "--settings", module, "--pythonpath", "."],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=tmp_path,
        )
        assert done.returncode == code, done.stderr
        assert ("KEYTURN_OPEN_PATHS is meant" in done.stderr) == bool(code)


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[tuple[str, str, str]]:
    """A server elsewhere: its address, a key that may follow it, and a key of a caller."""
    from tests.databases import new_sqlite_database  # noqa: PLC0415
    from tests.people import add_person  # noqa: PLC0415

    with running_server(new_sqlite_database(tmp_path)) as server:
        add_person(server.services)
        edge = server.services.users.add(
            COMMAND_LINE,
            userid="edge",
            name=None,
            password=None,
            permissions=frozenset({Permission.VERIFY_CREDENTIALS}),
        )
        bob = server.services.users.get_by_userid("bim", "bob")
        keys = [
            server.services.keys.create_for(owner, COMMAND_LINE, NewKey()).secret
            for owner in (edge.user_id, bob.user_id)
        ]
        yield server.url, keys[0], keys[1]


def test_fault_g3_django_asks_a_server_elsewhere(remote: tuple[str, str, str]) -> None:
    """With KEYTURN_URL and KEYTURN_KEY the middleware follows a server, with no database of its own."""
    url, follower, caller = remote
    chosen = {"KEYTURN_DATABASE": None, "KEYTURN_URL": url, "KEYTURN_KEY": f"{follower}\n"}
    urls = (path("orders", django_views.tell),)
    with override_settings(MIDDLEWARE=[django_views.PROTECT], ROOT_URLCONF=urls, **chosen):
        try:
            client = Client()
            assert client.get("/orders", headers={"Authorization": caller}).json() == {"for": "bob"}
            assert client.get("/orders").status_code == 401
            assert follower not in repr(django._openings)
        finally:
            django_views.close_verifiers()
