"""One table of requests and answers, the same behind every integration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.errors import NOT_AUTHENTICATED
from tests.integrations.issuer import NOWHERE_NEAR

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integrations.issuer import Issuer
    from tests.integrations.sites import Site

Headers = list[tuple[Any, Any]]

STRANGER = NOT_AUTHENTICATED
REVOKED = "This credential has been revoked."
ONE = "Send one Authorization header, not several."
NO_CREDENTIAL = 'Bearer realm="keyturn"'
WRONG = 'Bearer realm="keyturn", error="invalid_token"'
NARROW = 'Bearer realm="keyturn", error="insufficient_scope", scope="orders:read"'


@dataclass(frozen=True)
class Case:
    """A request to /orders, and its answer."""

    name: str
    headers: Callable[[Issuer], Headers]
    status: int
    message: str | None = None
    challenge: str | None = None


def sends(credential: Callable[[Issuer], Any], form: str = "{}") -> Callable[[Issuer], Headers]:
    return lambda issuer: [("Authorization", form.format(credential(issuer)))]


def with_wrong_checksum(issuer: Issuer) -> str:
    secret = issuer.key().secret
    return secret[:-1] + ("a" if secret[-1] != "a" else "b")


def key(issuer: Issuer) -> str:
    return issuer.key().secret


def token(issuer: Issuer) -> str:
    return issuer.token(issuer.key())


def token_of_a_revoked_key(issuer: Issuer) -> str:
    of = issuer.key()
    made = issuer.token(of)
    issuer.revoke(of)
    return made


def two(issuer: Issuer, *, equal: bool) -> Headers:
    first = key(issuer)
    return [("Authorization", first), ("Authorization", first if equal else key(issuer))]


def far_key_with_a_claim(issuer: Issuer) -> Headers:
    return [
        ("Authorization", issuer.key(source=NOWHERE_NEAR).secret),
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Real-IP", "192.0.2.7"),
        ("Forwarded", "for=192.0.2.7"),
    ]


def elsewhere(issuer: Issuer) -> Headers:
    return [("X-API-Key", key(issuer)), ("Cookie", f"key={key(issuer)}")]


ADDRESS = "This credential may not be used from this address."
DISABLED = "The owner of this credential is disabled."
CASES = [
    Case("key", sends(key), 200),
    Case("bearer key", sends(key, "Bearer {}"), 200),
    Case("bearer key in capitals", sends(key, "BEARER   {}"), 200),
    Case("token", sends(token), 200),
    Case("bearer token", sends(token, "bearer {}"), 200),
    Case("key that covers it", sends(lambda issuer: issuer.narrowed().secret), 200),
    Case("key of a near network", sends(lambda issuer: issuer.key(source="127.0.0.0/8").secret), 200),
    Case("nothing", lambda _: [], 401, STRANGER, NO_CREDENTIAL),
    Case("empty", lambda _: [("Authorization", "")], 401, STRANGER, NO_CREDENTIAL),
    Case("elsewhere", elsewhere, 401, STRANGER, NO_CREDENTIAL),
    Case("another scheme", sends(lambda _: "Basic Ym9iOnNlY3JldA=="), 401, STRANGER, WRONG),
    Case("scheme alone", sends(lambda _: "Bearer"), 401, STRANGER, WRONG),
    Case("beyond ASCII", lambda _: [(b"Authorization", b"kt_\xff\xfe")], 401, STRANGER, WRONG),
    Case("very long", sends(lambda _: "a" * 5000), 401, STRANGER, WRONG),
    Case("wrong checksum", sends(with_wrong_checksum), 401, STRANGER, WRONG),
    Case("unknown", sends(lambda _: "0123456789abcdef" * 2), 401, STRANGER, WRONG),
    Case("unsigned token", sends(lambda i: token(i).rpartition(".")[0] + ".AAAA"), 401, STRANGER, WRONG),
    Case("expired", sends(lambda i: i.expired().secret), 401, "This credential has expired.", WRONG),
    Case("revoked", sends(lambda i: i.revoked().secret), 401, REVOKED, WRONG),
    Case("token of a revoked key", sends(token_of_a_revoked_key), 401, REVOKED, WRONG),
    Case("disabled owner", sends(lambda i: i.of_a_disabled_owner().secret), 401, DISABLED, WRONG),
    Case("far network", sends(lambda i: i.key(source=NOWHERE_NEAR).secret), 401, ADDRESS, WRONG),
    Case("far network, claimed", far_key_with_a_claim, 401, ADDRESS, WRONG),
    Case(
        "narrow key",
        sends(lambda i: i.narrowed('["orders:write"]').secret),
        403,
        "This needs the scopes orders:read.",
        NARROW,
    ),
    Case(
        "token of a narrow key",
        sends(lambda i: i.token(i.narrowed('["orders:write"]'))),
        403,
        "This needs the scopes orders:read.",
        NARROW,
    ),
    Case("two equal lines", lambda i: two(i, equal=True), 400, ONE),
    Case("two lines", lambda i: two(i, equal=False), 400, ONE),
]  # fmt: skip
ERRORS = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_has_its_answer(site: Site, issuer: Issuer, case: Case) -> None:
    """The same request gets the same answer behind every integration, the first time and remembered."""
    headers = case.headers(issuer)
    for _ in range(2):
        answer = site.get(*headers)

        assert answer.status_code == case.status, answer.text
        assert answer.headers.get("WWW-Authenticate") == case.challenge
        assert answer.headers["Content-Type"].startswith("application/json")
        if case.status == 200:
            assert answer.json() == {"for": "bob"}
            continue
        error = {"statusCode": case.status, "error": ERRORS[case.status], "message": case.message}
        assert answer.json() == error
        if site.name != "rest-framework":  # Its errors carry no header but the two that it knows.
            assert answer.headers["Cache-Control"] == "no-store"


def test_a_narrow_key_still_says_who(site: Site, issuer: Issuer) -> None:
    """Where no scope is needed, a narrowed key passes."""
    assert site.call(issuer.narrowed('["orders:write"]').secret, "/whoami").json() == {"for": "bob"}
    assert site.get(path="/whoami").status_code == 401


def test_what_is_revoked_meanwhile_is_dead(site: Site, issuer: Issuer) -> None:
    """A key and its token that passed are refused at the very next request after the revoke (R1)."""
    for _ in range(3):
        of = issuer.key()
        credentials = (of.secret, f"Bearer {issuer.token(of)}")
        for _ in range(2):
            assert [site.call(each).status_code for each in credentials] == [200, 200]
        issuer.revoke(of)
        assert [site.call(each).status_code for each in credentials] == [401, 401]


def test_who_is_disabled_meanwhile_is_out(site: Site, issuer: Issuer) -> None:
    """The key of somebody who is disabled is refused at the very next request (R3)."""
    name = issuer.add_person()
    secret = issuer.key(name).secret
    assert site.call(secret).json() == {"for": name}
    issuer.disable(name)
    assert site.call(secret).status_code == 401


def test_refusing_a_head_has_no_body(site: Site) -> None:
    """HEAD is refused without a body, with the status of GET where a framework has it at all."""
    answer = site.get(method="HEAD")
    assert answer.content == b""
    assert answer.status_code == (405 if site.name in {"fastapi", "litestar"} else 401)
