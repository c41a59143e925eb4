"""`POST /bim/apikey/impersonate`, as its caller, a gateway and the person see it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import jwt
import pytest

from keyturn.core.permissions import Permission
from tests.proofs import Prover

if TYPE_CHECKING:
    import httpx

    from keyturn.services.keys.keys import CreatedKey
    from tests.web.sites import Site

IMPERSONATE, WHO = "/bim/apikey/impersonate", "/bim/rpc/user/current"
SERVICE, PERSON = "trino@example.com", "bob@example.com"


@pytest.fixture
def key(site: Site) -> CreatedKey:
    """The key of a service that acts for people."""
    if SERVICE not in site.users:
        site.add_holder(SERVICE, frozenset({Permission.IMPERSONATE_USER, Permission.AUDIT}))
    return site.key(SERVICE)


def impersonate(client: httpx.Client, key: CreatedKey, **headers: str) -> str:
    body = {"apikey": key.secret, "iamid": "bim", "userid": PERSON}
    answer = client.post(IMPERSONATE, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"authenticated", "token", "tokenExpiration"}
    assert answer.json()["authenticated"] is True
    return str(answer.json()["token"])


def test_the_token_is_the_person_s_and_names_the_service(site: Site, key: CreatedKey) -> None:
    """The API answers as the person; claims, identity headers and introspection name who acts."""
    bob, service = site.users[PERSON], site.users[SERVICE]
    with site.client() as client:
        token = impersonate(client, key)
        bearer = {"Authorization": f"Bearer {token}"}
        me = client.get(WHO, headers=bearer).json()
        assert (me["userid"], me["id"]) == (PERSON, bob.user_id)
        claims = jwt.decode(token, options={"verify_signature": False})
        assert (claims["sub"], claims["act"]) == (str(bob.user_id), {"sub": str(service.user_id)})
        assert claims["exp"] - claims["iat"] <= 3600
        told = client.get("/verify", headers=bearer).headers
        assert told["keyturn-user"] == told["remote-user"] == PERSON
        assert told["keyturn-auth-method"] == "impersonation"
        assert told["keyturn-key-id"] == str(key.record.key_id)
        assert told["keyturn-permissions"] == ""
        asks = {"Authorization": key.secret}
        found = client.post("/oauth/introspect", data={"token": token}, headers=asks).json()
        assert found["act"] == {"sub": str(service.user_id), "username": SERVICE}
        assert (found["active"], found["sub"], found["client_id"]) == (
            True,
            str(bob.user_id),
            f"key-{key.record.key_id}",
        )


def test_the_person_sees_it_and_ends_it(site: Site, key: CreatedKey) -> None:
    """Their Sessions tab names who acts for them, the audit log too; ending the session ends the token."""
    browser, admin = site.browser(PERSON), site.browser("admin@example.com")
    with site.client() as client:
        token = impersonate(client, key, **{"User-Agent": "trino/476"})
        bearer = {"Authorization": f"Bearer {token}"}
        page = browser.get("/profile/sessions").text
        assert "trino (trino@example.com) acts for you with it." in page
        bob = site.users[PERSON].user_id
        assert "trino (trino@example.com) acts for bob with it." in admin.get(f"/admin/users/{bob}").text
        assert "made a token that acts for" in admin.get("/admin/audit").text
        # The one that was seen last stands first.
        session = re.findall(r"acts for you.*?/profile/sessions/(\d+)/end", page, re.DOTALL)[0]
        assert browser.submit(f"/profile/sessions/{session}/end").status_code == 303
        assert client.get(WHO, headers=bearer).status_code == 401


def test_a_proof_binds_the_token(site: Site, key: CreatedKey) -> None:
    """With a proof of possession the token is bound to its key pair, and nothing without it."""
    prover = Prover()
    now = site.clock.now.timestamp()
    with site.client() as client:
        proof = prover.proof("POST", site.url + IMPERSONATE, at=now)
        token = impersonate(client, key, DPoP=proof)
        assert client.get(WHO, headers={"Authorization": f"Bearer {token}"}).status_code == 401
        proof = prover.proof("GET", site.url + WHO, at=now, credential=token)
        bound = {"Authorization": f"DPoP {token}", "DPoP": proof}
        assert client.get(WHO, headers=bound).json()["userid"] == PERSON


def test_wrong_requests_say_what_is_wrong(site: Site, key: CreatedKey) -> None:
    """A project, a missing field and a wrong key are refused in the words of the API."""
    good = {"apikey": key.secret, "iamid": "bim", "userid": PERSON}
    with site.client() as client:
        for body, status, field in (
            ({**good, "projectId": 1}, 422, "projectId"),
            ({**good, "userid": SERVICE}, 422, "userid"),
            ({"apikey": key.secret, "iamid": "bim"}, 422, "userid"),
            ({**good, "scopes": []}, 422, "scopes"),
        ):
            answer = client.post(IMPERSONATE, json=body)
            assert answer.status_code == status, answer.text
            assert answer.json()["validation"][0]["field"] == field
        wrong = client.post(IMPERSONATE, json={**good, "apikey": "wrong"})
        assert wrong.status_code == 401
        assert client.post(IMPERSONATE, json={**good, "userid": "nobody"}).status_code == 404
        assert client.post(IMPERSONATE, json={**good, "userid": "admin@example.com"}).status_code == 403
