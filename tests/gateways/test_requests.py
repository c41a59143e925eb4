"""A key that is restricted to methods and paths is judged by what its client sent to the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.gateways.conftest import BOB
from tests.people import restricted

if TYPE_CHECKING:
    from tests.gateways.conftest import Scene

CLAIMS = (
    ("X-Original-Method: GET", "X-Original-URL: http://api.example.com/reports/1"),
    ("X-Forwarded-Method: GET", "X-Forwarded-Uri: /reports/1"),
)
"""What a client may say of its request."""


def restricted_key(scene: Scene, **chosen: object) -> str:
    new = NewKey(restrictions=restricted(**chosen))
    return scene.site.services.keys.create_for(scene.site.users[BOB].user_id, COMMAND_LINE, new).secret


def test_the_path_is_that_of_the_client(scene: Scene) -> None:
    """A prefix opens the API at and below it, with any query, and nothing beside it."""
    here, beside, above = (
        restricted_key(scene, allowPaths=[path]) for path in ("/reports/1", "/reports/2", "/report")
    )
    for _ in range(2):
        for target in ("/reports/1", "/reports/1?a=/reports/2"):
            assert scene.passed(target, here).values("keyturn-user") == [BOB]
            for key in (beside, above):
                assert scene.refused(target, key).status == 401


def test_the_method_is_that_of_the_client(scene: Scene) -> None:
    """GET opens GET and HEAD, and no other method that the gateway passes on."""
    key = restricted_key(scene, allowMethods=["GET"])
    found = [
        scene.get("/reports/1", key, method=method).status for method in ("GET", "HEAD", "POST", "DELETE")
    ]
    assert found == [200, 200, 401, 401]


def test_what_a_client_says_of_its_request_is_not_believed(scene: Scene) -> None:
    """A client that writes the headers of the gateway itself wins nothing by it."""
    key = restricted_key(scene, allowMethods=["POST"], allowPaths=["/reports/1"])
    for lines in CLAIMS:
        said = [line.replace("GET", "POST") for line in lines]
        assert scene.get("/reports/1", key, *said).status in {400, 401}
    other = restricted_key(scene, allowPaths=["/reports/1"])
    for lines in CLAIMS:
        assert scene.get("/reports/2", other, *lines).status in {400, 401}
