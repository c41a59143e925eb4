"""A key with a stray character: refused by every way to call, and told nowhere."""

from __future__ import annotations

import inspect
import logging
import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import requests
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

import keyturn.client
from keyturn.client import ApiClient, DeviceLogin, DpopKeyPair, KeyturnAuth
from keyturn.client.requests import KeyturnAuth as RequestsAuth
from keyturn.client.tokens import ExchangeFailed, TokenKeeper
from keyturn.errors import KeyturnError
from tests.client.conftest import WHO, Keyed
from tests.client.test_auth import CALLERS
from tests.servers import running_app
from tests.strays import CANARY, KEY, LINE_ENDS, STRAYS, everything_said, tells

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "http://127.0.0.1:1"


def entry_points() -> dict[str, Callable[..., Any]]:
    """Return every class and function of the client that takes a key or token, by its own signature."""
    found: dict[str, Callable[..., Any]] = {}
    for module in pkgutil.iter_modules(keyturn.client.__path__, "keyturn.client."):
        for name, value in vars(import_module(module.name)).items():
            public = callable(value) and getattr(value, "__module__", "") == module.name and name[0] != "_"
            if public and not _is_data(value) and {"key", "credential"} & set(_parameters(value)):
                found[f"{module.name}.{name}"] = value
    return found


def _is_data(value: Any) -> bool:
    """Return whether this only holds what the server said."""
    return hasattr(value, "__struct_fields__") or hasattr(value, "__dataclass_fields__")


def _parameters(value: Any) -> list[str]:
    return list(inspect.signature(value).parameters)


def call(entry: Callable[..., Any], key: object) -> object:
    """Call an entry point with a key, and something fit for each other parameter that must be there."""
    chosen: dict[str, object] = {"key": key, "credential": key, "url": URL, "method": "GET"}
    chosen |= {"key_pair": DpopKeyPair.generate(), "resource": None, "scopes": ()}
    needed = inspect.signature(entry).parameters.values()
    return entry(
        **{
            each.name: chosen[each.name]
            for each in needed
            if each.name in {"key", "credential", "url"} or each.default is inspect.Parameter.empty
        }
    )


def test_the_walk_finds_the_ways_to_call() -> None:
    """What takes a key is found by its signature: a new way is walked too."""
    assert {
        "keyturn.client.api.ApiClient",
        "keyturn.client.httpx.KeyturnAuth",
        "keyturn.client.requests.KeyturnAuth",
        "keyturn.client.tokens.TokenKeeper",
        "keyturn.client.dpop.presenting",
    } <= entry_points().keys()


@pytest.mark.parametrize("name", entry_points())
def test_fault_d1_a_stray_character_is_refused_and_not_told(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every entry point says that this is not a key, and nothing of it, in no form of the error."""
    entry = entry_points()[name]
    with caplog.at_level(logging.DEBUG):
        for what, stray in {**STRAYS, "bytes": KEY.encode(), "nothing": "", "None": None}.items():
            with pytest.raises(ValueError, match="this is not a key") as refused:
                call(entry, stray)
            assert not tells(everything_said(refused.value)), what
    assert not tells(caplog.text)


@pytest.mark.parametrize("end", LINE_ENDS)
def test_fault_d1_the_line_end_of_a_file_is_cut(keyed: Keyed, end: str) -> None:
    """A key from a file or a pipe is good with the line end behind it, as itself and for the exchange."""
    key = keyed.key + end
    for url in (None, keyed.url):
        for by in CALLERS.values():
            assert by(key, url)(keyed.url + WHO) == 200
        with ApiClient(keyed.url, key, exchanges=url is not None) as client:
            assert client.current_user().userid == "bob"


def test_fault_d1_no_library_logs_a_key(caplog: pytest.LogCaptureFixture, keyed: Keyed) -> None:
    """At level debug httpx, httpcore and urllib3 tell neither the key nor its token."""
    with caplog.at_level(logging.DEBUG):
        for url in (None, keyed.url):
            for by in CALLERS.values():
                assert by(keyed.key, url)(keyed.url + WHO) == 200
    logged = caplog.text + "".join(repr(vars(record)) for record in caplog.records)
    assert {"httpx", "httpcore.http11", "urllib3.connectionpool"} <= {each.name for each in caplog.records}
    assert keyed.key not in logged
    assert keyed.key[-20:] not in logged


@pytest.mark.parametrize("stray", ["two lines", "header of its own", "umlaut"])
def test_fault_d1_a_token_of_a_strange_server_is_not_told(stray: str) -> None:
    """What answers in place of Keyturn with a token that no header can carry gets a sentence, not a quote."""
    answers = {
        "/bim/apikey/authenticate": {"token": STRAYS[stray], "tokenExpiration": "2030-01-01T00:00:00Z"},
        "/oauth/token": {"access_token": STRAYS[stray], "expires_in": 3600},
    }
    with running_app(answering(answers)) as url:
        for auth in (KeyturnAuth(KEY, url), KeyturnAuth(KEY, url, scopes=["a"])):
            with httpx.Client(auth=auth) as client, pytest.raises(ExchangeFailed) as refused:
                client.get(url)
            assert not tells(everything_said(refused.value))
        with pytest.raises(ExchangeFailed) as refused:
            requests.get(url, auth=RequestsAuth(KEY, url), timeout=10)
        assert not tells(everything_said(refused.value))
        with DeviceLogin(url, "a program", sleep=lambda _: None) as login, pytest.raises(KeyturnError) as no:
            login.wait(keyturn.client.DeviceCodes("code", "A", url, url, expires_in=60))
        assert not tells(everything_said(no.value))


def answering(answers: dict[str, dict[str, Any]]) -> Any:
    """Return an application that answers every path with its JSON."""

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            answer = httpx.Response(200, json=answers.get(scope["path"], {}))
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": answer.content})

    return app


def key_files() -> dict[str, bytes | str]:
    """Return files in the place of a key pair, with a canary where the private key would be."""
    pem = DpopKeyPair.generate().to_pem()
    key = DpopKeyPair.generate()._private_key
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(CANARY.encode()))
    lines = pem.splitlines(keepends=True)
    return {
        "text": pem.decode(),
        "an API key": KEY.encode(),
        "canary as base64": lines[0] + CANARY.encode() + b"\n" + lines[-1],
        "stray characters": pem.replace(lines[1], CANARY.encode() + b"\0\xff" + lines[1]),
        "cut": lines[0] + CANARY.encode(),
        "with a password": sealed,
        "a JWK": b'{"kty":"EC","crv":"P-256","d":"%s"}' % CANARY.encode(),
        "a JWK with strays": b'{"kty":"EC","crv":"%s","x":"%s\xc3\xbc"}' % (2 * (CANARY.encode(),)),
    }


@pytest.mark.parametrize("what", key_files())
def test_fault_d1_a_file_of_a_key_pair_is_not_told(what: str) -> None:
    """What is not a key pair says so, with nothing of what stands in the file."""
    given = key_files()[what]
    secret = given.splitlines()[1] if what in {"text", "with a password"} else CANARY
    text = secret if isinstance(secret, str) else secret.decode()
    readers: list[Callable[[Any], object]] = [DpopKeyPair.from_pem]
    if isinstance(given, bytes) and what != "with a password":
        readers.append(keyturn.client.dpop.thumbprint_of_key)
    for read in readers:
        with pytest.raises(ValueError, match=r"key") as refused:
            read(given)
        assert text not in everything_said(refused.value)


def test_fault_d1_nothing_that_holds_a_key_shows_it() -> None:
    """No repr of what was made with a key has it."""
    made = [KeyturnAuth(KEY, URL), RequestsAuth(KEY, URL), ApiClient(URL, KEY), TokenKeeper(URL, KEY)]
    assert not any(tells(repr(each)) for each in made)
