"""The wire: bodies, types, statuses and errors, as clients of the Immuta API know them."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from keyturn.core.permissions import Permission
from keyturn.verifying.origin import COMMAND_LINE, Origin
from keyturn.web.api.people.user_views import EXTERNAL_USER_IDS
from tests.conftest import PASSWORD
from tests.web.sites import CONNECTION, FORM, TIMEOUT_SECONDS, read_all, status_of

if TYPE_CHECKING:
    from tests.web.sites import Site

ADMIN = "admin@example.com"
BOB = "bob@example.com"
WHO = "/bim/rpc/user/current"
EXCHANGES = ("/bim/apikey/authenticate", "/apikey/authenticate")
KEYS = ("/bim/apikey", "/apikey")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NATIVE_KEY = re.compile(r"kt_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}")


def is_error(answer: httpx.Response, status: int, error: str) -> bool:
    """Return whether this is an error of the documented shape, with no field beside."""
    body = answer.json()
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(body) <= {"statusCode", "error", "message", "validation"}
    assert isinstance(body["message"], str)
    assert body["message"]
    for problem in body.get("validation", []):
        assert set(problem) == {"code", "field"}
    assert (body["statusCode"], body["error"]) == (status, error)
    return True


def without_request_id(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """Return what of an answer may be the same in two."""
    headers = {name: value for name, value in answer.headers.items() if name not in {"x-request-id", "date"}}
    return answer.status_code, headers, answer.content


# The exchange


@pytest.mark.parametrize("path", EXCHANGES)
def test_the_exchange_takes_every_documented_form(any_site: Site, path: str) -> None:
    """JSON, form, and the raw key in the header with no body or an empty one, are answered alike."""
    key = any_site.key(ADMIN).secret
    with any_site.client() as client:
        answers = [
            client.post(path, json={"apikey": key}),
            client.post(
                path,
                content=f'{{"apikey":"{key}"}}',
                headers={"Content-Type": "Application/JSON; charset=utf-8"},
            ),
            client.post(path, data={"apikey": key}),
            client.post(path, content=f"apikey={key}", headers={"Content-Type": f"{FORM}; charset=UTF-8"}),
            client.post(path, headers={"Authorization": key}),
            client.post(path, headers={"Authorization": key, "Content-Type": "application/json"}),
            client.post(path, headers={"Authorization": key, "Content-Type": FORM}),
            client.post(path, headers={"Authorization": f"Bearer {key}"}),
        ]
        for answer in answers:
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["cache-control"] == "no-store"
            body = answer.json()
            assert set(body) == {"authenticated", "token", "tokenExpiration"}
            assert body["authenticated"] is True
            assert TIMESTAMP.fullmatch(body["tokenExpiration"])
            expires = datetime.fromisoformat(body["tokenExpiration"])
            assert expires == any_site.clock.now + timedelta(hours=1)
            assert client.get(WHO, headers={"Authorization": body["token"]}).status_code == 200
            assert key not in answer.text


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        ('{"apikey": 5}', "application/json", 422),
        ('{"apikey": null}', "application/json", 422),
        ('{"apikey": ["<key>"]}', "application/json", 422),
        ('{"apikey": {"a": "<key>"}}', "application/json", 422),
        ('{"apikey": ""}', "application/json", 401),
        ('{"apikey": "<key>x"}', "application/json", 401),
        ('{"apikey": " <key>"}', "application/json", 401),
        ('{"apikey": "<key>\\n"}', "application/json", 401),
        ('{"apikey": "Bearer <key>"}', "application/json", 401),
        ('{"apikey": "<key>", "other": 1}', "application/json", 422),
        ('{"apikey": "<key>", "iamid": "bim"}', "application/json", 422),
        ('{"APIKEY": "<key>"}', "application/json", 422),
        ('{"<key>": "apikey"}', "application/json", 422),
        ('{"apikey": "x", "<key>": 1}', "application/json", 422),
        ("{}", "application/json", 422),
        ("[]", "application/json", 422),
        ("null", "application/json", 422),
        ('"<key>"', "application/json", 422),
        ("<key>", "application/json", 400),
        ('{"apikey": "<key>"', "application/json", 400),
        ('{"apikey": "<key>"} x', "application/json", 400),
        ("{'apikey': '<key>'}", "application/json", 400),
        ('\ufeff{"apikey": "<key>"}', "application/json", 400),
        ('{"apikey": "\\ud800<key>"}', "application/json", 400),
        (" ", "application/json", 400),
        ("apikey=<key>", "application/json", 400),
        ('{"apikey": "<key>"}', "text/plain", 400),
        ('{"apikey": "<key>"}', "text/json", 400),
        ('{"apikey": "<key>"}', None, 400),
        ('{"apikey": "<key>"}', "", 400),
        ('{"apikey": "<key>"}', "application/jsonx", 400),
        ('{"apikey": "<key>"}', "multipart/form-data; boundary=x", 400),
        ('{"apikey": "<key>"}', FORM, 422),
        ("apikey=<key>&apikey=<key>", FORM, 400),
        ("apikey=<key>&apikey=", FORM, 400),
        ("apikey=<key>&other=1", FORM, 422),
        ("other=<key>", FORM, 422),
        ("<key>=apikey", FORM, 422),
        ("apikey=", FORM, 401),
        ("apikey=%FF%FE", FORM, 400),
        ("apikey=<key>%00", FORM, 401),
        ("apikey=\u00e9", FORM, 400),
        ("&".join(f"a{number}=<key>" for number in range(60)), FORM, 400),
        ("[" * 30_000, "application/json", 422),
        ('{"apikey":' * 6_000, "application/json", 422),
        ('{"apikey":' + "[" * 20_000 + "]" * 20_000 + "}", "application/json", 422),
        ('{"apikey": ' + "9" * 20_000 + "}", "application/json", 401),
        ('{"apikey": "' + "K" * 30_000 + '"}', "application/json", 401),
    ],
)
def test_the_exchange_refuses_everything_else(
    any_site: Site, content: str, content_type: str | None, status: int
) -> None:
    """A body that is not exactly the key is refused, without a token field or an echo."""
    key = any_site.key(ADMIN).secret
    headers = {} if content_type is None else {"Content-Type": content_type}
    with any_site.client() as client:
        for path in EXCHANGES:
            answer = client.post(path, content=content.replace("<key>", key).encode(), headers=headers)
            name = {400: "Bad Request", 401: "Unauthorized", 422: "Unprocessable entity"}
            assert is_error(answer, status, name[status])
            assert "token" not in answer.json()
            assert key not in answer.text
            assert key not in str(answer.headers)
            assert ("www-authenticate" in answer.headers) == (status == 401)


def test_a_key_is_echoed_by_no_error(any_site: Site) -> None:
    """Wherever in a request a key stands by mistake, no error answers it back."""
    key = any_site.key(ADMIN).secret
    headers = {"Authorization": key}
    with any_site.client() as client:
        answers = [
            client.post("/bim/apikey", json={key: 1}, headers=headers),
            client.post("/bim/apikey", json={"name": {key: key}}, headers=headers),
            client.post("/bim/apikey", json={"projectId": key}, headers=headers),
            client.post("/bim/apikey", json={"name": f"{key}\n"}, headers=headers),
            client.post("/bim/apikey", content=key, headers=headers),
            client.post("/bim/apikey", data={key: key}, headers=headers),
            client.post("/bim/apikey", headers={**headers, "Idempotency-Key": key * 10}),
            client.get(f"/data/connection/{key}", headers=headers),
            client.get(f"/bim/iam/{key}/user/{key}/apikeys", headers=headers),
            client.get(f"/bim/iam/bim/user/{key}/apikeys", headers=headers),
            client.get(f"/bim/iam/bim/user/{ADMIN}/apikeys?size={key}", headers=headers),
            client.get(f"/bim/iam/bim/user/{ADMIN}/apikeys?offset=-1&{key}={key}", headers=headers),
            client.delete(f"/bim/apikey/{key}", headers=headers),
            client.get(f"/{key}", headers=headers),
            client.get(f"/static/{key}"),
            client.get(f"/{key}"),
            client.post("/bim/iam/bim/user/authenticate", json={"username": key, "password": key}),
            client.post("/bim/iam/bim/user/authenticate", json={key: key}),
            client.post(f"/bim/iam/{key}/user/authenticate", json={"username": key, "password": key}),
        ]
    for answer in answers:
        assert 400 <= answer.status_code < 500, answer.request.url
        assert key not in answer.text, answer.request.url
        assert key not in str(answer.headers)


def test_a_wrong_key_tells_a_stranger_nothing(any_site: Site) -> None:
    """A key that never was, a malformed one and one with a wrong checksum get the same bytes (H9)."""
    key = any_site.key(ADMIN).secret
    never_issued = any_site.services.keys._format.make_api_key(b"\x07" * 88).text
    with any_site.client() as client:
        answers = [
            without_request_id(client.post(EXCHANGES[0], json={"apikey": presented}))
            for presented in (never_issued, "x", key[:-1] + "_", "0" * 32)
        ]
        assert len({repr(answer) for answer in answers}) == 1
        answers = [
            without_request_id(client.get(WHO, headers={"Authorization": presented}))
            for presented in (never_issued, "x", key[:-1] + "_", "0" * 32, "a.b.c", "Bearer eDp5")
        ]
        assert len({repr(answer) for answer in answers}) == 1


# Login


def test_a_password_is_answered_with_a_token(any_site: Site) -> None:
    """The login answers a token with its end, and takes JSON alone."""
    path = "/bim/iam/bim/user/authenticate"
    with any_site.client() as client:
        answer = client.post(path, json={"username": BOB, "password": PASSWORD})
        assert answer.status_code == 200
        body = answer.json()
        assert set(body) == {"authenticated", "token", "tokenExpiration", "profileId"}
        assert TIMESTAMP.fullmatch(body["tokenExpiration"])
        me = client.get(WHO, headers={"Authorization": f"Bearer {body['token']}"}).json()
        assert me["userid"] == BOB
        assert TIMESTAMP.fullmatch(me["lastLogin"])

        refused = [
            client.post(path, json={"username": BOB, "password": "wrong wrong wrong"}),
            client.post(path, json={"username": "nobody@example.com", "password": PASSWORD}),
            client.post("/bim/iam/okta/user/authenticate", json={"username": BOB, "password": PASSWORD}),
        ]
        assert len({repr(without_request_id(answer)) for answer in refused}) == 1
        for answer in refused:
            assert is_error(answer, 401, "Unauthorized")
            assert "www-authenticate" in answer.headers

        credentials = {"username": BOB, "password": PASSWORD}
        assert is_error(client.post(path), 400, "Bad Request")
        assert is_error(client.post(path, data=credentials), 400, "Bad Request")
        assert is_error(client.post(path, json={"username": BOB}), 422, "Unprocessable entity")
        assert is_error(client.post(path, json={**credentials, "a": 1}), 422, "Unprocessable entity")
        assert is_error(client.post(path, json={**credentials, "password": 5}), 422, "Unprocessable entity")
        plain = client.post(
            path, content='{"username":"a","password":"b"}', headers={"Content-Type": "text/plain"}
        )
        assert is_error(plain, 400, "Bad Request")


def test_strange_characters_in_a_login_are_a_wrong_login(any_site: Site) -> None:
    """NUL, emoji and other scripts in name and password are 401 as any other wrong login."""
    with any_site.client() as client:
        for text in ("\x00", "a\x00b", "😀" * 20, "ключ", "\u202e", "\ufffd"):
            for iamid in ("bim", quote("\x00"), quote("é")):
                answer = client.post(
                    f"/bim/iam/{iamid}/user/authenticate", json={"username": text, "password": text}
                )
                assert is_error(answer, 401, "Unauthorized")


# The caller and connections


def test_the_caller_is_shown_in_the_documented_shape(any_site: Site) -> None:
    """The current user has every documented field, of its type, unset ones null."""
    key = any_site.key(BOB).secret
    with any_site.client() as client:
        body = client.get(WHO, headers={"Authorization": key, "Content-Type": "application/json"}).json()
    assert set(body) == {
        "id", "iamid", "userid", "bimAuthorizations", "iamAuthorizations", "authorizations", "permissions",
        "profile", "authentication", "systemGenerated", "lastLogin", "lastExternalRefresh", "disabled",
        "createdAt", "updatedAt", "projectId", "groupPermissions", "hasLogin",
    }  # fmt: skip
    assert set(body["profile"]) == {
        "id", "name", "email", "phone", "about", "location", "organization", "position", "preferences",
        "externalUserIds", "scim", "systemGenerated", "createdAt", "updatedAt", "iamid", "userid", "sqlUser",
    }  # fmt: skip
    assert type(body["id"]) is int
    assert body["userid"] == BOB
    assert body["iamid"] == "bim"
    assert body["permissions"] == ["CREATE_PROJECT"]
    assert body["authorizations"] == {}
    assert body["profile"]["externalUserIds"] == dict.fromkeys(EXTERNAL_USER_IDS)
    assert body["profile"]["phone"] is None
    assert body["disabled"] is False
    for moment in (body["createdAt"], body["updatedAt"], body["profile"]["createdAt"]):
        assert TIMESTAMP.fullmatch(moment)


def test_a_connection_is_shown_without_secrets(any_site: Site) -> None:
    """The documentation's `GET /data/connection/123456789` works as printed; its key is a string."""
    key = any_site.key(ADMIN).secret
    with any_site.client(headers={"Authorization": key}) as client:
        answer = client.get(f"/data/connection/{CONNECTION}")
        assert answer.status_code == 200
        body = answer.json()
        assert set(body) == {
            "connectionKey", "connection", "createdAt", "createdBy", "creator", "updatedAt", "updatedBy",
            "updater", "nativeIntegrationId",
        }  # fmt: skip
        assert body["connectionKey"] == CONNECTION
        assert body["connection"] == {"technology": "Snowflake", "hostname": "example.com", "port": 443}
        assert body["createdBy"] == body["creator"]["id"] == any_site.users[ADMIN].user_id
        assert set(body["creator"]) == {"id", "name", "email"}
        assert TIMESTAMP.fullmatch(body["createdAt"])
        for unknown in ("nothing", "%00", "%F0%9F%98%80", "a%2fb", "'%20OR%201=1--", "%ff", "x" * 2000):
            assert is_error(client.get(f"/data/connection/{unknown}"), 404, "Not Found")


def test_a_missing_permission_is_named(any_site: Site) -> None:
    """Without the permission, a connection is 403 with insufficient_scope and the names."""
    key = any_site.key(BOB).secret
    with any_site.client(headers={"Authorization": key}) as client:
        answers = [client.get(f"/data/connection/{name}") for name in (CONNECTION, "absent")]
    for answer in answers:
        assert is_error(answer, 403, "Forbidden")
        challenge = answer.headers["www-authenticate"]
        assert 'error="insufficient_scope"' in challenge
        assert 'scope="APPLICATION_ADMIN CREATE_DATA_SOURCE GOVERNANCE"' in challenge
        assert "APPLICATION_ADMIN" in answer.json()["message"]
    assert without_request_id(answers[0]) == without_request_id(answers[1])


@pytest.mark.parametrize("permission", ["APPLICATION_ADMIN", "CREATE_DATA_SOURCE", "GOVERNANCE"])
def test_one_of_the_permissions_is_enough(any_site: Site, permission: str) -> None:
    """Each permission of the reference alone opens a connection."""
    userid = f"{permission.lower()}@example.com"
    any_site.add_user(userid, frozenset({permission}))
    with any_site.client(headers={"Authorization": any_site.key(userid).secret}) as client:
        assert client.get(f"/data/connection/{CONNECTION}").status_code == 200


# Keys


@pytest.mark.parametrize("path", KEYS)
def test_a_key_is_created_in_the_documented_shape(any_site: Site, path: str) -> None:
    """Creation answers 200 with the secret, integer ids, times with Z, and no-store (K7)."""
    with any_site.client(headers={"Authorization": any_site.key(BOB).secret}) as client:
        answers = [
            client.post(path),
            client.post(path, headers={"Content-Type": "application/json"}),
            client.post(path, json={}),
            client.post(path, json={"name": None, "projectId": None}),
            client.post(path, json={"name": "nightly export"}),
            client.post(path, json={"name": "é" * 254}),
            client.post(path, json={"name": ""}),
        ]
        for answer in answers:
            assert answer.status_code == 200, answer.text
            assert answer.headers["cache-control"] == "no-store"
            body = answer.json()
            assert set(body) == {
                "apikey", "id", "keyid", "name", "context", "project", "masked", "state", "createdAt",
                "expiresAt", "lastUsedAt", "revokedAt", "formerSecretEndsAt", "scopes", "allowFrom",
                "dpopJkt", "allowMethods", "allowPaths",
            }  # fmt: skip
            assert NATIVE_KEY.fullmatch(body["apikey"])
            assert type(body["keyid"]) is int
            assert body["id"] == body["keyid"]
            assert body["state"] == "active"
            assert body["project"] is None
            assert body["lastUsedAt"] is None
            assert body["revokedAt"] is None
            assert TIMESTAMP.fullmatch(body["createdAt"])
            assert TIMESTAMP.fullmatch(body["expiresAt"])
            assert body["apikey"] not in body["masked"]
            assert body["masked"].endswith(body["apikey"][-4:])
            assert client.get(WHO, headers={"Authorization": body["apikey"]}).status_code == 200
        assert [answer.json()["name"] for answer in answers] == [
            None, None, None, None, "nightly export", "é" * 254, None,
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": 5}, 422),
        ({"name": ["a"]}, 422),
        ({"name": "a" * 255}, 422),
        ({"name": "a\r\nb"}, 422),
        ({"name": "\x00"}, 422),
        ({"name": "\x1b[31m"}, 422),
        ({"projectId": "5"}, 422),
        ({"projectId": 1.5}, 422),
        ({"projectId": True}, 422),
        ({"projectId": 5}, 404),
        ({"projectId": 0}, 404),
        ({"projectId": -1}, 404),
        ({"projectId": 10**30}, 404),
        ({"user_id": 1}, 422),
        ({"userid": ADMIN}, 422),
        ({"scopes": ["all"]}, 422),
        ({"expiresAt": "2999-01-01T00:00:00.000Z"}, 422),
        ({"createdAt": "1999-01-01T00:00:00.000Z"}, 422),
        ({"hash": "00"}, 422),
        ({"apikey": "0123456789abcdeffedcba9876543210"}, 422),
        ({"permissions": ["APPLICATION_ADMIN"]}, 422),
        ([], 422),
        ("name", 422),
    ],
)
def test_what_a_key_may_not_be_is_refused_by_name(any_site: Site, body: object, status: int) -> None:
    """Unknown and read-only fields, wrong types and unfit names are refused, and no key is made (A4)."""
    user = any_site.new_user()
    with any_site.client(headers={"Authorization": any_site.key(user.userid).secret}) as client:
        for path in KEYS:
            answer = client.post(path, json=body)
            assert is_error(answer, status, "Not Found" if status == 404 else "Unprocessable entity")
            if status == 422:
                (problem,) = answer.json()["validation"]
                assert problem["field"] in ({*body} if isinstance(body, dict) else {"body"})
    assert len(any_site.services.keys.list_of(user.user_id)) == 1


@pytest.mark.parametrize("content_type", ["text/plain", None, FORM, "multipart/form-data; boundary=x"])
def test_a_body_that_is_not_called_json_is_not_read(any_site: Site, content_type: str | None) -> None:
    """A JSON body under another content type, or none, is 400 and makes no key (L8)."""
    user = any_site.new_user()
    headers = {"Authorization": any_site.key(user.userid).secret}
    if content_type is not None:
        headers["Content-Type"] = content_type
    with any_site.client(headers=headers) as client:
        answer = client.post("/bim/apikey", content=b'{"name": "a"}')
    assert is_error(answer, 400, "Bad Request")
    assert len(any_site.services.keys.list_of(user.user_id)) == 1


def test_a_retry_gives_the_same_key(any_site: Site) -> None:
    """With the same Idempotency-Key a retry gives the same key a fresh secret, the lost one dead (D5)."""
    user = any_site.new_user()
    other = any_site.new_user()
    with any_site.client(headers={"Authorization": any_site.key(user.userid).secret}) as client:
        retry = {"Idempotency-Key": "once"}
        first = client.post("/bim/apikey", json={"name": "a"}, headers=retry).json()
        second = client.post("/bim/apikey", json={"name": "a"}, headers=retry).json()
        assert second["keyid"] == first["keyid"]
        assert second["apikey"] != first["apikey"]
        assert client.get(WHO, headers={"Authorization": first["apikey"]}).status_code == 401
        assert client.get(WHO, headers={"Authorization": second["apikey"]}).status_code == 200
        different = client.post("/bim/apikey", json={"name": "b"}, headers=retry)
        assert is_error(different, 409, "Conflict")
        assert len(any_site.services.keys.list_of(user.user_id)) == 2
        for unfit in ("", "x" * 201):
            answer = client.post("/bim/apikey", headers={"Idempotency-Key": unfit})
            assert is_error(answer, 422, "Unprocessable entity")
        client.delete(f"/bim/apikey/{first['keyid']}")
        again = client.post("/bim/apikey", json={"name": "a"}, headers=retry)
        assert is_error(again, 409, "Conflict")
        theirs = client.post(
            "/bim/apikey",
            json={"name": "a"},
            headers={**retry, "Authorization": any_site.key(other.userid).secret},
        )
        assert theirs.status_code == 200
        assert theirs.json()["keyid"] != first["keyid"]


def test_a_retry_with_a_short_lived_key_gets_no_longer_lived_one(any_site: Site) -> None:
    """Whoever holds a key that soon ends cannot take over, by its Idempotency-Key, one that lives on (A3)."""
    user = any_site.new_user()
    soon = any_site.clock.now + timedelta(hours=1)
    long_lived = any_site.key(user.userid).secret
    short_lived = any_site.key(user.userid, expires_at=soon).secret
    retry = {"Idempotency-Key": "deploy"}
    with any_site.client() as client:
        made = client.post("/bim/apikey", headers={**retry, "Authorization": long_lived})
        assert made.status_code == 200
        taken = client.post("/bim/apikey", headers={**retry, "Authorization": short_lived})
    if taken.status_code == 200:
        assert datetime.fromisoformat(taken.json()["expiresAt"]) <= soon
    else:
        assert is_error(taken, 409, "Conflict")


def test_a_retry_never_answers_a_dead_key(any_site: Site) -> None:
    """A retry after the key's own end is a conflict, not a success that holds a key which works nowhere."""
    user = any_site.new_user()
    session = any_site.services.logins.log_in_api("bim", user.userid, PASSWORD, Origin())
    soon = any_site.clock.now + timedelta(minutes=5)
    short_lived = any_site.key(user.userid, expires_at=soon).secret
    retry = {"Idempotency-Key": "nightly"}
    with any_site.client() as client:
        assert client.post("/bim/apikey", headers={**retry, "Authorization": short_lived}).status_code == 200
        any_site.clock.advance(timedelta(minutes=6))
        late = client.post("/bim/apikey", headers={**retry, "Authorization": session.token})
    if late.status_code == 200:
        assert late.json()["state"] == "active"
    else:
        assert is_error(late, 409, "Conflict")


def test_a_key_made_with_a_key_ends_with_it(any_site: Site) -> None:
    """A key or token cannot make a key that outlives it, and makes none that is asked to (A3)."""
    soon = any_site.clock.now + timedelta(days=2)
    maker = any_site.key(BOB, expires_at=soon).secret
    with any_site.client() as client:
        exchanged = client.post(EXCHANGES[0], json={"apikey": maker}).json()
        ends = {maker: soon, exchanged["token"]: datetime.fromisoformat(exchanged["tokenExpiration"])}
        for credential, end in ends.items():
            headers = {"Authorization": credential}
            made = client.post("/bim/apikey", headers=headers)
            assert (made.status_code, datetime.fromisoformat(made.json()["expiresAt"])) == (200, end)
            later = client.post("/bim/apikey", headers=headers, json={"expiresAt": None})
            assert later.status_code == 409


def test_the_list_shows_metadata_and_never_a_secret(any_site: Site) -> None:
    """The list is an array without secrets, the newest first, paged (K7)."""
    user = any_site.new_user()
    made = [any_site.key(user.userid) for _ in range(3)]
    path = f"/bim/iam/bim/user/{user.userid}/apikeys"
    with any_site.client(headers={"Authorization": made[0].secret}) as client:
        listed = client.get(path).json()
        assert [hit["keyid"] for hit in listed] == [key.record.key_id for key in reversed(made)]
        for hit in listed:
            assert set(hit) == {
                "id", "keyid", "name", "context", "project", "masked", "state", "createdAt", "expiresAt",
                "lastUsedAt", "revokedAt", "formerSecretEndsAt", "scopes", "allowFrom", "dpopJkt",
                "allowMethods", "allowPaths", "created", "lastUsed",
            }  # fmt: skip
        page = client.get(path, params={"size": 1, "offset": 1}).json()
        assert [hit["keyid"] for hit in page] == [made[1].record.key_id]
        assert client.get(path, params={"offset": 1000}).json() == []
        text = client.get(path).text
        for key in made:
            assert key.secret not in text
            assert key.secret[16:-4] not in text
        for params in (
            {"size": 0},
            {"size": 201},
            {"size": "a"},
            {"offset": -1},
            {"offset": 10**30},
            {"size": ""},
        ):
            assert is_error(client.get(path, params=params), 422, "Unprocessable entity")


def test_a_user_is_named_by_name_or_number(any_site: Site) -> None:
    """In the path a user is the name, `@` raw or percent-encoded, in any case, or the number."""
    user = any_site.users[BOB]
    names = (BOB, quote(BOB, safe=""), BOB.upper(), str(user.user_id), f"%20{BOB}")
    with any_site.client(headers={"Authorization": any_site.key(BOB).secret}) as client:
        answers = []
        for name in names:
            for prefix in ("/bim/iam/bim", "/iam/bim"):
                raw = any_site.raw_get(
                    f"{prefix}/user/{name}/apikeys", f"Authorization: {any_site.key(BOB).secret}".encode()
                )
                assert status_of(raw) == 200, name
                answers.append(len(client.get(f"{prefix}/user/{name}/apikeys").json()))
    assert answers == sorted(answers)


@pytest.mark.parametrize(
    ("iamid", "userid"),
    [
        ("bim", ADMIN),
        ("bim", "absent@example.com"),
        ("bim", "ADMIN_ID"),
        ("bim", "0"),
        ("bim", "-1"),
        ("bim", "9" * 18),
        ("bim", "9" * 30),
        ("bim", "9" * 5000),
        ("bim", "%00"),
        ("bim", "%ff"),
        ("bim", "a%2fb"),
        ("bim", "%F0%9F%98%80"),
        ("bim", "%EF%BC%91"),
        ("bim", "..%2f..%2f"),
        ("okta", BOB),
        ("BIM", BOB),
        ("%00", BOB),
    ],
)
def test_another_users_keys_are_as_absent(any_site: Site, iamid: str, userid: str) -> None:
    """Somebody else's list, a list of nobody, and an impossible name, are the same 404 (A2)."""
    userid = userid.replace("ADMIN_ID", str(any_site.users[ADMIN].user_id))
    with any_site.client(headers={"Authorization": any_site.key(BOB).secret}) as client:
        absent = client.get("/bim/iam/bim/user/nobody/apikeys")
        assert is_error(absent, 404, "Not Found")
        for prefix in ("/bim/iam", "/iam"):
            answer = client.get(f"{prefix}/{iamid}/user/{userid}/apikeys")
            assert without_request_id(answer) == without_request_id(absent)


def test_user_admin_sees_everybodys_keys(any_site: Site) -> None:
    """USER_ADMIN, and no other permission, lists another user's keys."""
    path = f"/bim/iam/bim/user/{BOB}/apikeys"
    with any_site.client() as client:
        for permission in Permission:
            userid = f"only-{permission.lower()}@example.com"
            any_site.add_user(userid, frozenset({permission.value}))
            answer = client.get(path, headers={"Authorization": any_site.key(userid).secret})
            assert answer.status_code == (200 if permission is Permission.USER_ADMIN else 404)


@pytest.mark.parametrize("path", KEYS)
def test_a_deleted_key_and_its_tokens_are_dead_at_once(any_site: Site, path: str) -> None:
    """On the very next request a deleted key, and each token made from it, is 401 (R1)."""
    key = any_site.key(BOB)
    with any_site.client() as client:
        with_key = {"Authorization": any_site.key(BOB).secret}
        token = client.post(EXCHANGES[0], json={"apikey": key.secret}).json()["token"]
        assert client.get(WHO, headers={"Authorization": token}).status_code == 200
        answer = client.delete(
            f"{path}/{key.record.key_id}", headers={**with_key, "Content-Type": "application/json"}
        )
        assert answer.status_code == 200
        assert answer.json() == {"keyid": key.record.key_id, "revokedTokens": 1}
        for credential in (key.secret, f"Bearer {key.secret}", token, f"Bearer {token}"):
            refused = client.get(WHO, headers={"Authorization": credential})
            assert is_error(refused, 401, "Unauthorized")
            assert 'error="invalid_token"' in refused.headers["www-authenticate"]
        assert is_error(client.post(EXCHANGES[0], json={"apikey": key.secret}), 401, "Unauthorized")
        assert client.get(WHO, headers=with_key).status_code == 200


def test_a_key_can_delete_itself(any_site: Site) -> None:
    """A key may end itself; the next request with it is 401."""
    key = any_site.key(BOB)
    with any_site.client(headers={"Authorization": key.secret}) as client:
        assert client.delete(f"/bim/apikey/{key.record.key_id}").status_code == 200
        assert client.delete(f"/bim/apikey/{key.record.key_id}").status_code == 401


def test_a_foreign_an_absent_and_a_dead_key_are_deleted_alike(any_site: Site) -> None:
    """DELETE of another's, of no, and of an already deleted key is the same 404, and ends nothing (A2)."""
    foreign = any_site.key(ADMIN)
    own = any_site.key(BOB)
    with any_site.client(headers={"Authorization": any_site.key(BOB).secret}) as client:
        assert client.delete(f"/bim/apikey/{own.record.key_id}").status_code == 200
        answers = [
            without_request_id(client.delete(f"{path}/{keyid}"))
            for path in KEYS
            for keyid in (
                foreign.record.key_id, own.record.key_id, 987654321, 0, -1, 2**63, 2**64 + 1, "9" * 5000,
                "abc", "1.5", "%00", "%F0%9F%98%80",
            )
        ]  # fmt: skip
        assert len({repr(answer) for answer in answers}) == 1
        assert answers[0][0] == 404
        assert client.get(WHO, headers={"Authorization": foreign.secret}).status_code == 200


def test_a_number_in_a_path_has_one_spelling(any_site: Site) -> None:
    """Only the decimal number that we wrote names a key: no sign, zero, space, underscore or other digits."""
    user = any_site.new_user()
    authorization = any_site.key(user.userid).secret
    accepted = []
    for spelling in ("+{}", "0{}", "%20{}", "{}%20", "{}%0a", "{}_{}", "ARABIC"):
        key = any_site.key(user.userid)
        while key.record.key_id < 10:
            key = any_site.key(user.userid)
        text = str(key.record.key_id)
        arabic = quote("".join(chr(0x660 + int(digit)) for digit in text))
        first, rest = (text[0], text[1:]) if spelling == "{}_{}" else (text, "")
        written = arabic if spelling == "ARABIC" else spelling.format(first, rest)
        answer = any_site.raw(
            f"DELETE /bim/apikey/{written} HTTP/1.1\r\nHost: {any_site.host}\r\nConnection: close\r\n"
            f"Authorization: {authorization}\r\n\r\n".encode()
        )
        if status_of(answer) != 404:
            accepted.append(written)
    assert accepted == []


def test_an_admins_rights_end_nobody_elses_key(any_site: Site) -> None:
    """DELETE is for one's own keys, whatever one may else."""
    key = any_site.key(BOB)
    with any_site.client(headers={"Authorization": any_site.key(ADMIN).secret}) as client:
        assert client.delete(f"/bim/apikey/{key.record.key_id}").status_code == 404
        assert client.get(WHO, headers={"Authorization": key.secret}).status_code == 200


# Time


def test_a_key_and_a_token_are_dead_at_exactly_their_end(any_site: Site) -> None:
    """At `tokenExpiration` and `expiresAt` to the instant, token and key are 401, and say so (K8)."""
    end = any_site.clock.now + timedelta(minutes=90)
    key = any_site.key(ADMIN, expires_at=end).secret
    with any_site.client() as client:

        def status(credential: str) -> int:
            return client.get(WHO, headers={"Authorization": credential}).status_code

        first = client.post(EXCHANGES[0], json={"apikey": key}).json()
        any_site.clock.advance(timedelta(minutes=60) - timedelta(milliseconds=1))
        assert status(first["token"]) == 200
        any_site.clock.advance(timedelta(milliseconds=1))
        assert datetime.fromisoformat(first["tokenExpiration"]) == any_site.clock.now
        refused = client.get(WHO, headers={"Authorization": first["token"]})
        assert is_error(refused, 401, "Unauthorized")
        assert "expired" in refused.json()["message"]

        second = client.post(EXCHANGES[0], json={"apikey": key}).json()
        assert datetime.fromisoformat(second["tokenExpiration"]) == end, "a token never outlives its key"
        any_site.clock.advance(timedelta(minutes=30) - timedelta(milliseconds=1))
        assert status(key) == 200
        any_site.clock.advance(timedelta(milliseconds=1))
        for credential in (key, second["token"]):
            assert status(credential) == 401
        refused = client.post(EXCHANGES[0], json={"apikey": key})
        assert is_error(refused, 401, "Unauthorized")
        assert "token" not in refused.json()


def test_a_disabled_users_credentials_are_dead_at_once(any_site: Site) -> None:
    """Disabling ends keys, tokens and password tokens on the next request; enabling gives the keys back."""
    user = any_site.new_user()
    key = any_site.key(user.userid).secret
    with any_site.client() as client:
        token = client.post(EXCHANGES[0], json={"apikey": key}).json()["token"]
        login = client.post(
            "/bim/iam/bim/user/authenticate", json={"username": user.userid, "password": PASSWORD}
        ).json()["token"]
        any_site.services.users.set_disabled(COMMAND_LINE, user.userid, disabled=True)
        for credential in (key, token, login):
            assert client.get(WHO, headers={"Authorization": credential}).status_code == 401
        assert client.post(EXCHANGES[0], json={"apikey": key}).status_code == 401
        any_site.services.users.set_disabled(COMMAND_LINE, user.userid, disabled=False)
        assert client.get(WHO, headers={"Authorization": key}).status_code == 200
        assert client.get(WHO, headers={"Authorization": login}).status_code == 401


# HTTP


def test_head_is_get_without_a_body(any_site: Site) -> None:
    """HEAD answers what GET would, with its length and no body, and is closed to strangers as GET is."""
    key = any_site.key(ADMIN).secret
    with any_site.client() as client:
        for path in (
            WHO,
            f"/data/connection/{CONNECTION}",
            "/health/live",
            "/.well-known/jwks.json",
            "/login",
        ):
            headers = {} if path[1:6] in {"healt", ".well", "login"} else {"Authorization": key}
            got, head = client.get(path, headers=headers), client.head(path, headers=headers)
            assert head.status_code == got.status_code == 200, path
            assert head.content == b""
            assert head.headers["content-length"] == got.headers["content-length"]
        assert client.head(WHO).status_code == 401
        assert client.head("/bim/apikey", headers={"Authorization": key}).status_code == 405
        assert client.head("/no/such", headers={"Authorization": key}).status_code == 404


def test_a_wrong_method_and_an_unknown_path_have_the_shape_of_errors(any_site: Site) -> None:
    """With a credential, an unknown path is 404 and a wrong method 405 with Allow."""
    with any_site.client(headers={"Authorization": any_site.key(ADMIN).secret}) as client:
        assert is_error(client.get("/no/such/path"), 404, "Not Found")
        for method, path in (
            ("PUT", WHO),
            ("PATCH", "/bim/apikey"),
            ("DELETE", "/bim/apikey"),
            ("GET", "/apikey"),
        ):
            answer = client.request(method, path)
            assert is_error(answer, 405, "Method Not Allowed")
            assert answer.headers["allow"]


def test_a_huge_body_is_refused_before_it_is_read(any_site: Site) -> None:
    """A body that says it is larger than 64 KiB is 413, and the connection closes (Q6)."""
    key = any_site.key(ADMIN).secret
    for length in (64 * 1024 + 1, 10**9, 10**18):
        answer = any_site.raw(
            f"POST /bim/apikey HTTP/1.1\r\nHost: {any_site.host}\r\nAuthorization: {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{{".encode()
        )
        assert status_of(answer) == 413
        assert b'"statusCode":413' in answer
    for path in (*EXCHANGES, "/login", "/bim/iam/bim/user/authenticate"):
        answer = any_site.raw(
            f"POST {path} HTTP/1.1\r\nHost: {any_site.host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: 70000\r\n\r\n".encode()
        )
        assert status_of(answer) == 413


@pytest.mark.parametrize("path", [*EXCHANGES, "/bim/apikey", "/login"])
def test_a_huge_chunked_body_is_refused_while_it_is_read(any_site: Site, path: str) -> None:
    """A body without a length is 413 as soon as it exceeds 64 KiB, and the connection closes (Q6)."""
    parts = urlsplit(any_site.url)
    key = any_site.key(ADMIN).secret
    authorization = f"Authorization: {key}\r\n" if path == "/bim/apikey" else ""
    with socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: {any_site.host}\r\n{authorization}"
            f"Content-Type: {FORM if path == '/login' else 'application/json'}\r\n"
            f"Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        for _ in range(9):
            connection.sendall(b"2000\r\n" + b"a" * 0x2000 + b"\r\n")
        answer = read_all(connection)
    assert status_of(answer) == 413


def test_a_small_chunked_body_is_read(any_site: Site) -> None:
    """A body in chunks is read as any other."""
    key = any_site.key(ADMIN).secret
    body = f'{{"apikey": "{key}"}}'.encode()
    answer = any_site.raw(
        f"POST /apikey/authenticate HTTP/1.1\r\nHost: {any_site.host}\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        + b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        + b"0\r\n\r\n"
    )
    assert status_of(answer) == 200


def test_the_signing_keys_are_public_and_nothing_more(any_site: Site) -> None:
    """The key set holds public members alone, with kid, alg and use, and verifies tokens (T12)."""
    with any_site.client() as client:
        answer = client.get("/.well-known/jwks.json")
        assert answer.status_code == 200
        keys = answer.json()["keys"]
        token = client.post(EXCHANGES[0], json={"apikey": any_site.key(ADMIN).secret}).json()["token"]
    assert keys
    for key in keys:
        assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
        assert key["use"] == "sig"
    assert len({key["kid"] for key in keys}) == len(keys)
    claims = jwt.decode(token, KeySet.import_key_set({"keys": keys})).claims
    assert claims["iss"] == any_site.services.settings.public_url
    assert claims["exp"] - claims["iat"] == 3600


def test_health_says_only_what_it_must(any_site: Site) -> None:
    """Health is open, and tells neither version nor address of anything."""
    with any_site.client() as client:
        assert client.get("/health/live").json() == {"status": "ok", "details": {}}
        assert client.get("/health/ready").json() == {
            "status": "ok",
            "details": {"database": "up", "writes": "up"},
        }


def test_times_on_the_wire_are_utc(any_site: Site) -> None:
    """Every time that is shown is the clock's, in UTC."""
    with any_site.client(headers={"Authorization": any_site.key(BOB).secret}) as client:
        made = client.post("/bim/apikey").json()
    assert datetime.fromisoformat(made["createdAt"]) == any_site.clock.now.astimezone(UTC)
    assert datetime.fromisoformat(made["expiresAt"]) == any_site.clock.now + timedelta(days=365)


def test_the_whole_way_from_key_to_nothing(any_site: Site) -> None:
    """Sign in, make a key, use it, exchange it, use the token, delete the key: nothing works any more."""
    user = any_site.new_user()
    with any_site.client() as client:
        login = client.post(
            "/bim/iam/bim/user/authenticate", json={"username": user.userid, "password": PASSWORD}
        ).json()
        signed_in = {"Authorization": f"Bearer {login['token']}"}
        made = client.post("/bim/apikey", json={"name": "journey"}, headers=signed_in).json()
        token = client.post("/bim/apikey/authenticate", json={"apikey": made["apikey"]}).json()["token"]
        for credential in (made["apikey"], token):
            assert client.get(WHO, headers={"Authorization": credential}).json()["id"] == user.user_id
        (hit,) = client.get(f"/bim/iam/bim/user/{user.user_id}/apikeys", headers=signed_in).json()
        assert (hit["keyid"], hit["name"], hit["state"]) == (made["keyid"], "journey", "active")
        assert TIMESTAMP.fullmatch(hit["lastUsedAt"])
        assert client.delete(f"/bim/apikey/{made['keyid']}", headers=signed_in).status_code == 200
        for credential in (made["apikey"], token):
            assert client.get(WHO, headers={"Authorization": credential}).status_code == 401
        (hit,) = client.get(f"/bim/iam/bim/user/{user.user_id}/apikeys", headers=signed_in).json()
        assert hit["state"] == "revoked"
        assert TIMESTAMP.fullmatch(hit["revokedAt"])
