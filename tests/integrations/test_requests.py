"""Keys that are restricted to methods and paths, behind every integration."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from keyturn import CredentialRefused, Reason, Verifier
from keyturn.integrations import asgi, django, wsgi
from keyturn.integrations.protection import Protection
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.integrations import sites
from tests.integrations.sites import Options, application
from tests.people import HERE, restricted

if TYPE_CHECKING:
    from keyturn.integrations.protection import Presented
    from tests.integrations.issuer import Issuer
    from tests.integrations.sites import Site


def restricted_key(issuer: Issuer, **chosen: object) -> str:
    new = NewKey(restrictions=restricted(**chosen))
    user = issuer.services.users.get_by_userid("bim", "bob")
    return issuer.services.keys.create_for(user.user_id, COMMAND_LINE, new).secret


def status_of(site: Site, credential: str, target: str, method: str = "GET") -> int:
    """Send a target as it is: no client mends it."""
    connection = http.client.HTTPConnection(urlsplit(str(site.client.base_url)).netloc, timeout=20)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        connection.putheader("Authorization", credential)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("kind", ["key", "token"])
def test_a_key_passes_for_its_paths(site: Site, issuer: Issuer, kind: str) -> None:
    """A prefix opens what is at it and below, by whole segments, remembered or not."""
    for paths, statuses in (
        (["/orders"], (200, 401)),
        (["/whoami"], (401, 200)),
        (["/"], (200, 200)),
        (["/order", "/who"], (401, 401)),
        (["/orders/1", "/whoami"], (401, 200)),
    ):
        secret = restricted_key(issuer, allowPaths=paths)
        credential = secret
        if kind == "token":
            exchange = issuer.services.exchange.exchange
            credential = exchange(in_header=[], in_body=secret, origin=HERE).token
        for _ in range(2):
            found = tuple(site.call(credential, path).status_code for path in ("/orders?a=/x", "/whoami"))
            assert found == statuses, paths


def test_a_key_passes_for_its_methods(site: Site, issuer: Issuer) -> None:
    """GET opens what is asked with it, and HEAD too; another method is refused before any handler."""
    reads, writes = (restricted_key(issuer, allowMethods=[method]) for method in ("GET", "POST"))
    assert status_of(site, reads, "/orders") == 200
    assert status_of(site, writes, "/orders") == 401
    assert status_of(site, reads, "/orders", "HEAD") in {200, 405}
    assert status_of(site, reads, "/orders", "POST") in {401, 405}


@pytest.mark.parametrize(
    "target", ["/orders//", "/./orders", "/x/../orders", "/x/%2e%2e/orders", "/orders%2F.."]
)
def test_a_path_that_is_read_in_two_ways_is_refused(site: Site, issuer: Issuer, target: str) -> None:
    """Such a key opens no path that is not canonical, wherever the application would lead it."""
    assert status_of(site, restricted_key(issuer, allowPaths=["/"]), target) != 200


def test_an_encoded_letter_is_no_other_path(site: Site, issuer: Issuer) -> None:
    """Where the path is known as it was sent it must be canonical; WSGI shows what the application reads."""
    key = restricted_key(issuer, allowPaths=["/orders"])
    is_shown = site.name not in sites.WSGI and not site.name.startswith("django")
    assert status_of(site, key, "/%6frders") == (401 if is_shown else 200)


# Mounts, and layers of one service


def asgi_scope(credential: str, path: str, root_path: str = "", method: str = "GET") -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": root_path,
        "headers": [(b"authorization", credential.encode())],
        "client": ("127.0.0.1", 5),
    }


def wsgi_environ(credential: str, path: str, mount: str = "", method: str = "GET") -> dict[str, Any]:
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": mount,
        "PATH_INFO": path.removeprefix(mount),
        "HTTP_AUTHORIZATION": credential,
        "REMOTE_ADDR": "127.0.0.1",
    }


def passes(verifier: Verifier, presented: Presented) -> bool:
    try:
        Protection(verifier).check(presented)
    except CredentialRefused as refused:
        return refused.reason is not Reason.REQUEST
    return True


def test_below_a_mount_both_paths_must_be_allowed(issuer: Issuer) -> None:
    """A client that chooses its mount wins nothing, and a part that is mounted is not the path below it."""
    both = restricted_key(issuer, allowPaths=["/api/orders", "/orders"])
    whole, routed, mount = (
        restricted_key(issuer, allowPaths=[path]) for path in ("/api/orders", "/orders", "/api")
    )
    with Verifier(issuer.database) as verifier:
        for key, is_good in ((both, True), (whole, False), (routed, False), (mount, False)):
            for presented in (
                asgi.presented_in(asgi_scope(key, "/api/orders", "/api")),
                wsgi.presented_in(wsgi_environ(key, "/api/orders", "/api")),
            ):
                assert passes(verifier, presented) is is_good
        # Where frameworks disagree there is no path at all.
        assert not passes(verifier, asgi.presented_in(asgi_scope(both, "/orders", "/ord")))


def test_a_second_layer_judges_the_request_as_it_reads_it(issuer: Issuer) -> None:
    """An application that takes a POST for a DELETE, between two layers of it, passes nobody by that."""
    key = restricted_key(issuer, allowMethods=["POST"])
    with Verifier(issuer.database) as verifier:
        environ = wsgi_environ(key, "/orders", method="POST")
        assert passes(verifier, wsgi.presented_in(environ))
        assert passes(verifier, wsgi.presented_in(environ))
        environ["REQUEST_METHOD"] = "DELETE"
        assert not passes(verifier, wsgi.presented_in(environ))


def test_a_method_that_django_overrides_is_the_one_that_counts(issuer: Issuer) -> None:
    """Django dispatches by `request.method`, which a middleware may set: a key is judged by the same."""
    key = restricted_key(issuer, allowMethods=["POST"])

    @django.require()
    def view(request: Any) -> HttpResponse:
        return HttpResponse(request.method)

    def overridden(request: Any) -> HttpResponse:
        request.method = "DELETE"
        return view(request)

    def sent() -> Any:
        return RequestFactory().post("/orders", headers={"Authorization": key})

    with application("django", Options(issuer.database)):
        assert view(sent()).status_code == 200
        assert overridden(sent()).status_code == 401
        assert django.protect(overridden)(sent()).status_code == 401
