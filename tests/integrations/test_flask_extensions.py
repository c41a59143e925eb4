"""Extensions and handlers of Flask that take errors for themselves: a refusal is answered all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flask_restful
import flask_restx
import pytest
from flask import Blueprint, Flask, g
from flask.views import MethodView

from keyturn import CredentialRefused, Verifier
from keyturn.core.permissions import Permission
from keyturn.integrations import flask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integrations.issuer import Issuer

SCOPE = "orders:read"


@pytest.fixture
def verifier(issuer: Issuer) -> Iterator[Verifier]:
    with Verifier(issuer.database) as opened:
        yield opened


def tell() -> dict[str, str]:
    return {"for": g.principal.userid}


def audit() -> dict[str, str]:
    g.principal.check_may(Permission.AUDIT)
    return tell()


def resource(base: Any) -> tuple[Any, Any]:
    """Return two resources: one that needs a scope, and one whose handler asks for a permission."""

    class Orders(base):  # type: ignore[misc]
        @flask.require(SCOPE)
        def get(self) -> Any:
            return tell()

    class Audit(base):  # type: ignore[misc]
        method_decorators = decorators = [flask.require()]  # noqa: RUF012 - as their users write it

        def get(self) -> Any:
            return audit()

    return Orders, Audit


def with_restful(app: Flask) -> None:
    api = flask_restful.Api(app)
    orders, auditing = resource(flask_restful.Resource)
    api.add_resource(orders, "/orders")
    api.add_resource(auditing, "/audit")


def with_restful_in_a_blueprint(app: Flask) -> None:
    blueprint = Blueprint("api", "service")
    api = flask_restful.Api(blueprint)
    orders, auditing = resource(flask_restful.Resource)
    api.add_resource(orders, "/orders")
    api.add_resource(auditing, "/audit")
    app.register_blueprint(blueprint)


def with_restx(app: Flask) -> None:
    api = flask_restx.Api(app)
    orders, auditing = resource(flask_restx.Resource)
    api.add_resource(orders, "/orders")
    api.add_resource(auditing, "/audit")
    api.errorhandler(Exception)(lambda error: ({"message": "a defect"}, 500))


def with_a_careful_blueprint(app: Flask) -> None:
    blueprint = Blueprint("api", "service")
    blueprint.errorhandler(Exception)(lambda error: ("a defect", 500))
    blueprint.get("/orders")(flask.require(SCOPE)(tell))
    blueprint.get("/audit")(flask.require()(audit))
    app.register_blueprint(blueprint)


def with_a_careful_application(app: Flask) -> None:
    app.errorhandler(Exception)(lambda error: ("a defect", 500))
    orders, auditing = resource(MethodView)
    app.add_url_rule("/orders", view_func=orders.as_view("orders"))
    app.add_url_rule("/audit", view_func=auditing.as_view("audit"))


@pytest.mark.parametrize(
    "build",
    [
        with_restful,
        with_restful_in_a_blueprint,
        with_restx,
        with_a_careful_blueprint,
        with_a_careful_application,
    ],
)
def test_fault_g1_a_refusal_is_answered(
    issuer: Issuer, verifier: Verifier, build: Callable[[Flask], None]
) -> None:
    """Who may passes; everybody else gets the status, challenge and body of everywhere else, and no 500."""
    app = Flask("service")
    flask.protect(app, verifier)
    build(app)
    client = app.test_client()
    good, narrow = issuer.key().secret, issuer.narrowed('["orders:write"]').secret
    assert client.get("/orders", headers={"Authorization": good}).get_json() == {"for": "bob"}
    for path, credential, status in (
        ("/orders", None, 401),
        ("/orders", "kt_wrong", 401),
        ("/orders", narrow, 403),
        ("/audit", good, 403),
        ("/audit", None, 401),
        ("/orders", f"{good}, {good}", 400),
    ):
        refused = client.get(path, headers={} if credential is None else {"Authorization": credential})
        assert (refused.status_code, refused.get_json()["statusCode"]) == (status, status)
        assert ("WWW-Authenticate" in refused.headers) == (status != 400)
        assert refused.headers["Cache-Control"] == "no-store"


def test_fault_g1_an_application_may_answer_by_itself(verifier: Verifier) -> None:
    """A handler that the application has for the very error is asked, in the application or a blueprint."""
    app = Flask("service")
    flask.protect(app, verifier)
    app.errorhandler(CredentialRefused)(lambda error: ("closed", 401))
    blueprint = Blueprint("inner", "service", url_prefix="/inner")
    blueprint.errorhandler(CredentialRefused)(lambda error: ("closed inside", 401))
    for routes in (app, blueprint):
        routes.get("/orders")(flask.require()(tell))
    app.register_blueprint(blueprint)
    client = app.test_client()
    assert (client.get("/orders").text, client.get("/inner/orders").text) == ("closed", "closed inside")
