"""The Django peers: djangorestframework-api-key, django-rest-knox and django-oauth-toolkit, one site.

`python -m bench.peers.django_site` makes the database and the credentials; `application` is for
gunicorn. No middleware, and a database connection that stays open: what costs time here is Django, the
REST framework and the package under test.
"""

# mypy: ignore-errors
# Its packages are in .venv-bench, where mypy does not look.

import secrets
from datetime import timedelta

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path

from bench.peers.storage import directory, publish

TOKENS_OF_ONE_USER = 1_000

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": directory() / "django.db",
            "CONN_MAX_AGE": None,
            "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework_api_key",
        "knox",
        "oauth2_provider",
    ],
    MIDDLEWARE=[],
    OAUTH2_PROVIDER={"SCOPES": {"introspection": "Introspect tokens", "read": "Read"}},
    REST_FRAMEWORK={
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_urlsafe(50),
    USE_TZ=True,
)
django.setup()

# A Django package can be imported only when the settings are there.
from django.contrib.auth import get_user_model  # noqa: E402 - after Django was told its settings
from django.core.management import call_command  # noqa: E402 - after Django was told its settings
from django.utils import timezone  # noqa: E402 - after Django was told its settings
from knox.auth import TokenAuthentication  # noqa: E402 - after Django was told its settings
from knox.models import AuthToken  # noqa: E402 - after Django was told its settings
from oauth2_provider.models import AccessToken, Application  # noqa: E402 - after Django was told its settings
from oauth2_provider.views import IntrospectTokenView  # noqa: E402 - after Django was told its settings
from rest_framework.decorators import (  # noqa: E402 - after Django was told its settings
    api_view,
    authentication_classes,
    permission_classes,
)
from rest_framework.permissions import IsAuthenticated  # noqa: E402 - after Django was told its settings
from rest_framework.request import Request  # noqa: E402 - after Django was told its settings
from rest_framework.response import Response  # noqa: E402 - after Django was told its settings
from rest_framework_api_key.models import APIKey  # noqa: E402 - after Django was told its settings
from rest_framework_api_key.permissions import HasAPIKey  # noqa: E402 - after Django was told its settings


@api_view(["GET"])
@authentication_classes([])
@permission_classes([HasAPIKey])
def verify_api_key(_request: Request) -> Response:
    """Answer 200 to whoever has an API key."""
    return Response({"ok": True})


@api_view(["GET"])
@authentication_classes([TokenAuthentication])
@permission_classes([IsAuthenticated])
def verify_knox(_request: Request) -> Response:
    """Answer 200 to whoever has a token of knox."""
    return Response({"ok": True})


urlpatterns = [
    path("api-key", verify_api_key),
    path("knox", verify_knox),
    path("introspect/", IntrospectTokenView.as_view()),
]
application = get_wsgi_application()


def prepare() -> None:
    """Make the tables, and of each kind the credentials."""
    call_command("migrate", verbosity=0)
    _, api_key = APIKey.objects.create_key(name="bench")
    users = get_user_model().objects
    _, knox_one = AuthToken.objects.create(user=users.create_user("one"))
    of_many = users.create_user("many")
    for _ in range(TOKENS_OF_ONE_USER - 1):
        AuthToken.objects.create(user=of_many)
    _, knox_many = AuthToken.objects.create(user=of_many)
    publish(
        api_key=api_key,
        knox_one=knox_one,
        knox_many=knox_many,
        resource_server=_access_token("introspection"),
        access_token=_access_token("read"),
    )


def _access_token(scope: str) -> str:
    """Store an access token of the client credentials grant and return its text."""
    application = Application.objects.create(
        name=f"bench {scope}",
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_CLIENT_CREDENTIALS,
    )
    token = secrets.token_urlsafe(32)
    AccessToken.objects.create(
        token=token, application=application, scope=scope, expires=timezone.now() + timedelta(days=1)
    )
    return token


if __name__ == "__main__":
    prepare()
