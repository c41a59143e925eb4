"""`/verify`: says who calls, in all identity headers or in none, by whichever way it is answered."""

from __future__ import annotations

import re
import socket
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from keyturn.core.networks import read_network
from keyturn.core.permissions import Permission
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE, Origin
from tests.conftest import PASSWORD
from tests.people import change_behind, restricted, unknown_key
from tests.statements import statements
from tests.web.sites import TIMEOUT_SECONDS, read_all, status_of, statuses_of

if TYPE_CHECKING:
    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

ADMIN, BOB = "admin@example.com", "bob@example.com"
VERIFY = "/verify"
IDENTITY = (
    "keyturn-user",
    "keyturn-key-id",
    "keyturn-scopes",
    "keyturn-permissions",
    "keyturn-auth-method",
    "remote-user",
)
LONGER_WAY = {"Cookie": "unrelated=1"}
"""With this header a request is never answered by the shortest way."""


def identity(answer: httpx.Response) -> dict[str, str]:
    """Return the identity headers of an answer, each of which it has once."""
    for name in IDENTITY:
        assert len(answer.headers.get_list(name)) == 1, name
    return {name: answer.headers[name] for name in IDENTITY}


def verify(site: Site, credential: str, path: str = VERIFY, **headers: str) -> httpx.Response:
    with site.client() as client:
        return client.get(path, headers={"Authorization": credential, **headers})


# Who


def test_a_key_says_all_of_its_owner(site: Site) -> None:
    """A key answers its owner, its number, the owner's permissions, and how they proved it."""
    key = site.key(ADMIN)

    for _ in range(3):
        answer = verify(site, key.secret)

        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["cache-control"] == "no-store"
        assert identity(answer) == {
            "keyturn-user": ADMIN,
            "remote-user": ADMIN,
            "keyturn-key-id": str(key.record.key_id),
            "keyturn-scopes": "",
            "keyturn-permissions": " ".join(sorted(Permission)),
            "keyturn-auth-method": "api_key",
        }


def test_a_token_says_which_key_it_came_from(site: Site) -> None:
    """A token of a key names that key; one that was given for a password names none."""
    key = site.key(BOB)
    token = site.services.exchange.exchange(in_header=[], in_body=key.secret, origin=Origin()).token
    login = site.services.logins.log_in_api("bim", BOB, PASSWORD, Origin()).token

    of_key, of_login = (identity(verify(site, f"Bearer {each}")) for each in (token, login))

    assert of_key["keyturn-key-id"] == str(key.record.key_id)
    assert of_login["keyturn-key-id"] == ""
    for found in (of_key, of_login):
        assert (found["keyturn-user"], found["keyturn-auth-method"]) == (BOB, "access_token")


def test_every_way_answers_the_same(site: Site) -> None:
    """AnswerCache or not, plain or looked at in full, a credential has one and the same identity."""
    key = site.key(BOB).secret
    token = site.services.exchange.exchange(in_header=[], in_body=key, origin=Origin()).token

    for credential in (key, f"Bearer {key}", f"bearer  {key}", f"Bearer {token}", token):
        ways = [
            verify(site, credential, **LONGER_WAY),
            verify(site, credential),
            verify(site, credential),
            verify(site, credential, f"{VERIFY}?scope="),
            verify(site, credential, **{"X-Forwarded-For": "10.9.8.7"}),
        ]
        assert {way.status_code for way in ways} == {200}
        assert len({tuple(identity(way).items()) for way in ways}) == 1
        assert len({way.headers["content-length"] for way in ways}) == 1
        assert all("date" in way.headers for way in ways)


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_a_gateway_may_ask_with_the_method_of_its_client(site: Site, method: str) -> None:
    """Gateways pass the original method on; the question is the same, with a body or without."""
    key = site.key(BOB).secret
    with site.client() as client:
        for content in (None, b"a body"):
            for _ in range(2):
                answer = client.request(method, VERIFY, headers={"Authorization": key}, content=content)
                assert answer.status_code == 200
                assert identity(answer)["keyturn-user"] == BOB


def test_a_name_cannot_break_out_of_its_header(site: Site) -> None:
    """A user name of any characters arrives as one header line, from which it can be read again."""
    strange = 'Zoë %41 "x" 名前 <b>'
    site.add_user(strange)
    key = site.key(strange).secret

    for _ in range(2):
        shown = identity(verify(site, key))["keyturn-user"]
        assert shown.isascii()
        assert unquote(shown) == strange


def test_identity_that_a_client_sends_is_not_repeated(site: Site) -> None:
    """What a client claims in identity headers of its own is in no answer."""
    key = site.key(BOB).secret
    claims = {name.title(): "admin@example.com" for name in IDENTITY}
    for _ in range(2):
        assert identity(verify(site, key, **claims))["keyturn-user"] == BOB
    refused = verify(site, "kt_wrong", **claims)
    assert refused.status_code == 401
    assert not set(IDENTITY) & set(refused.headers)


# Refusals


def test_no_refusal_says_who(site: Site) -> None:
    """Whatever the refusal, it has no identity header that a gateway could copy."""
    key = site.key(BOB)
    with site.client() as client:
        refusals = {
            401: [client.get(VERIFY), verify(site, "Bearer x"), verify(site, key.secret[:-1] + "!")],
            400: [
                verify(site, key.secret, f"{VERIFY}?access_token=a"),
                verify(site, key.secret, f"{VERIFY}?scop=a"),
                verify(site, key.secret, **{"X-Api-Key": key.secret}),
                verify(site, key.secret, Host="evil.example"),
                client.get(VERIFY, headers=[("Authorization", key.secret)] * 2),
            ],
        }
    for status, answers in refusals.items():
        for answer in answers:
            assert answer.status_code == status
            assert not set(IDENTITY) & set(answer.headers)
    assert refusals[401][0].headers["www-authenticate"] == 'Bearer realm="keyturn"'


def test_revoked_is_refused_on_the_next_request(site: Site) -> None:
    """A remembered key and a remembered token are refused right after the answer to the revoke (R1)."""
    user = site.new_user()
    with site.client() as client:
        for _ in range(20):
            key = site.key(user.userid)
            token = client.post("/apikey/authenticate", json={"apikey": key.secret}).json()["token"]
            headers = [{"Authorization": value} for value in (key.secret, f"Bearer {token}")]
            for each in (*headers, *headers):
                assert client.get(VERIFY, headers=each).status_code == 200
            path = f"/apikey/{key.record.key_id}"
            assert client.delete(path, headers=headers[0]).status_code == 200
            for each in headers:
                assert client.get(VERIFY, headers=each).status_code == 401


def test_a_remembered_key_dies_at_exactly_its_expiry(open_site: SiteOpener) -> None:
    """A key that is remembered is accepted up to, and refused from, the instant it ends."""
    with open_site() as site:
        site.add_people()
        key = site.key(BOB, expires_at=site.clock.now + timedelta(seconds=2)).secret
        statuses = []
        for _ in range(3):
            statuses.append(verify(site, key).status_code)
            site.clock.advance(timedelta(seconds=1))
        assert statuses == [200, 200, 401]


# Scopes


def test_scopes_are_asked_for(site: Site) -> None:
    """A credential that is narrowed passes for what it covers, and one that is not for everything."""
    whole, narrow = site.key(BOB), site.key(BOB)
    change_behind(
        site.services,
        "UPDATE api_key SET scopes = :scopes WHERE id = :id",
        scopes='["orders:read","orders:write"]',
        id=narrow.record.key_id,
    )
    for asked, status in (
        ("", 200),
        ("?scope=orders:read", 200),
        ("?scope=orders:read%20orders:write", 200),
        ("?scope=orders:read&scope=orders:write", 200),
        ("?scope=orders", 403),
        ("?scope=orders:read+users:read", 403),
    ):
        for _ in range(2):
            assert verify(site, narrow.secret, VERIFY + asked).status_code == status
            assert verify(site, whole.secret, VERIFY + asked).status_code == 200
    assert identity(verify(site, narrow.secret))["keyturn-scopes"] == "orders:read orders:write"
    refused = verify(site, narrow.secret, f"{VERIFY}?scope=users:read")
    assert 'error="insufficient_scope", scope="users:read"' in refused.headers["www-authenticate"]


def test_a_scope_that_is_missing_is_a_refusal_and_no_use(site: Site) -> None:
    """A key that `/verify` refuses for a scope was refused and not used, by whichever way it is asked."""
    narrow = site.key(BOB)
    change = "UPDATE api_key SET scopes = :scopes WHERE id = :id"
    change_behind(site.services, change, scopes='["orders:read"]', id=narrow.record.key_id)
    asked = ("?scope=orders:read", "?scope=users:read")
    for headers in ({}, LONGER_WAY):
        for query in asked:
            verify(site, narrow.secret, VERIFY + query, **headers)

    (caller,) = site.services.key_uses.callers(narrow.record)
    assert (caller.uses, caller.refused, caller.reason) == (2, 2, "ScopeMissing")
    assert caller.via == "GET /verify"
    assert caller.address == "127.0.0.1"
    assert list(site.services.key_uses.by_day([narrow.record])[narrow.record.key_id].values()) == [(2, 2)]


def test_a_dead_key_is_one_refusal_for_each_request(site: Site) -> None:
    """Every request with a revoked key, at `/verify` and elsewhere, is counted once, and none as a use."""
    key = site.key(BOB)
    site.services.keys.revoke_of(site.users[BOB].user_id, key.record.key_id, COMMAND_LINE)
    paths = (VERIFY, f"{VERIFY}?scope=a", "/bim/rpc/user/current", "/nowhere")
    for headers in ({}, LONGER_WAY):
        for path in paths:
            assert verify(site, key.secret, path, **headers).status_code == 401

    (caller,) = site.services.key_uses.callers(key.record)
    assert (caller.uses, caller.refused, caller.reason) == (0, 2 * len(paths), "revoked")


def test_scopes_may_be_asked_for_in_a_header(site: Site) -> None:
    """By header or by query, and by both, the credential must cover all; remembered or not."""
    narrow = site.key(BOB)
    change_behind(
        site.services,
        "UPDATE api_key SET scopes = :scopes WHERE id = :id",
        scopes='["orders:read","orders:write"]',
        id=narrow.record.key_id,
    )
    with (
        site.client() as client
    ):  # One connection, on which a plain question is answered by the shortest way.
        for header, query, status in (
            ("orders:read", "", 200),
            ("orders:write orders:read", "?scope=orders:read", 200),
            ("users:read", "", 403),
            ("orders:read", "?scope=users:read", 403),
            ("users:read", "?scope=orders:read", 403),
            ("orders:read users:read", "", 403),
            ('orders"read', "", 400),
        ):
            for _ in range(2):
                asked = {"Authorization": narrow.secret}
                assert client.get(VERIFY, headers=asked).status_code == 200
                asked["Keyturn-Require-Scope"] = header
                assert client.get(VERIFY + query, headers=asked).status_code == status


QUERIES = (
    *(
        "",
        "scope=",
        "scope=orders:read",
        "scope=orders:read+orders:write",
        "scope=orders:read%20orders:write",
    ),
    *(
        "scope=orders:read&scope=orders:write",
        "scope=orders",
        "scope=users:read",
        "scope=orders:read&scope=x",
    ),
    *("scope=Orders:read", "scope=orders%3aread", "scope=orders%253aread", "scope=orders:read#", "scope=#x"),
    *(
        "scope=orders:read#x",
        "#",
        "#scope=x",
        "?scope=x",
        "scope",
        "scope=%00",
        "scope=%22",
        "scope=%zz",
        "scope=%",
    ),
    *(
        "Scope=x",
        "scop=x",
        "scope=orders:read&",
        "&scope=x",
        "scope=orders:read;scope=x",
        "scope=x&audience=",
    ),
    *(
        "scope=orders:read%26token=x",
        "token=x",
        "scope=a&access_token=x",
        "scope=a;api_key=x",
        "scope=a%3btoken=x",
    ),
    *("audience=", "audience=https%3A%2F%2Fnowhere.example", "audience=a&audience=b", "audience=%00"),
    *(f"scope={'x' * 600}", f"scope={'x' * 1001}", "&".join(["scope=orders:read"] * 200)),
)


def test_every_question_is_answered_the_same_by_every_way(site: Site) -> None:
    """Whatever is asked of a remembered credential, the short way says it as the long one, or not at all."""
    whole, narrow, strange = site.key(BOB), site.key(BOB), site.key(BOB)
    for key, scopes in ((narrow, '["orders:read","orders:write"]'), (strange, '["orders:read#x","#x","#"]')):
        change_behind(
            site.services,
            "UPDATE api_key SET scopes = :scopes WHERE id = :id",
            scopes=scopes,
            id=key.record.key_id,
        )
    with site.client() as client:

        def ask(query: str, credential: str, **headers: str) -> tuple[int, list[tuple[str, str]]]:
            asked = client.build_request("GET", "/", headers={"Authorization": credential, **headers})
            asked.extensions["target"] = f"{VERIFY}?{query}".encode("latin-1")
            answer = client.send(asked)
            told = [*IDENTITY, "www-authenticate", "content-length"]
            return answer.status_code, [item for item in answer.headers.items() if item[0] in told]

        at_once = 0
        for query in QUERIES:
            for key in (whole, narrow, strange):
                client.get(VERIFY, headers={"Authorization": key.secret}).raise_for_status()
                long = ask(query, key.secret, **LONGER_WAY)
                assert ask(query, key.secret) == long, query
                assert ask(query, key.secret, **{"Content-Length": "0"}) == long, query
                assert ask(query, "kt_wrong") == ask(query, "kt_wrong", **LONGER_WAY), query
                at_once += long[0] == 200
    assert at_once > 20


def test_what_a_gateway_asks_is_answered_by_the_shortest_way(site: Site) -> None:
    """Scopes, and the empty body that some publish_settings, do not keep a remembered credential from it."""
    key = site.key(BOB).secret
    with site.client() as client:
        for query in ("", "?scope=orders:read", "?scope=orders:read%20x&scope=y"):
            for length in ({}, {"Content-Length": "0"}):
                headers = {"Authorization": key, **length}
                client.get(VERIFY, headers=headers).raise_for_status()
                again = client.get(VERIFY + query, headers=headers)
                assert again.status_code == 200
                assert "x-request-id" not in again.headers
                assert "x-request-id" in client.get(VERIFY + query, headers=headers | LONGER_WAY).headers


@pytest.mark.parametrize("scope", ["a%0d%0aX-Evil:%201", "a%22,%20realm=%22b", "a%5cb", "%c3%a9", "%00"])
def test_what_is_no_scope_is_not_repeated(site: Site, scope: str) -> None:
    """A scope of characters that no scope has is refused, and is in no header of the answer (RFC 6749)."""
    key = site.key(BOB).secret
    answer = verify(site, key, f"{VERIFY}?scope={scope}")
    assert answer.status_code == 400
    assert "x-evil" not in answer.headers
    assert "www-authenticate" not in answer.headers


def test_no_way_is_around_the_bounds_of_a_header(site: Site) -> None:
    """A header that is too large is refused, also with a remembered credential, and not kept (H5)."""
    key = site.key(BOB)
    assert verify(site, key.secret).status_code == 200
    for headers in (
        {"User-Agent": "a" * 17_000},
        {"X-Forwarded-For": "1" * 17_000},
        {"a" * 17_000: "b"},
        {f"X-{number}": "a" * 1000 for number in range(18)},
        {f"X-{number}": "a" for number in range(101)},
    ):
        assert verify(site, key.secret, **headers).status_code == 431
    use = site.services.usage.latest(key.record)
    assert use is not None
    assert len(use.agent or "") < 1000


# One connection, many requests


def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    """Many requests in one packet, short and long ways mixed, are each answered, in order."""
    key = site.key(BOB).secret
    assert verify(site, key).status_code == 200
    good = f"GET {VERIFY} HTTP/1.1\r\nHost: {site.host}\r\nAuthorization: {key}\r\n\r\n"
    slow = good.replace(" HTTP", "?scope=a HTTP")
    bad = good.replace(key, "x")
    live = good.replace(VERIFY, "/health/live")
    last = good.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
    plan = [good, good, slow, good, bad, good, live, good, good, bad, slow] * 20

    answers = site.raw("".join([*plan, last]).encode())

    expected = [401 if request is bad else 200 for request in plan]
    assert statuses_of(answers) == [*expected, 200]
    assert len(re.findall(rb"\r\ndate: ", answers)) == len(plan) + 1


def test_whole_requests_are_no_long_header(site: Site) -> None:
    """However many whole requests arrive with the beginning of the next one, all are answered."""
    key = site.key(BOB).secret
    assert verify(site, key).status_code == 200
    good = f"GET {VERIFY} HTTP/1.1\r\nHost: {site.host}\r\nAuthorization: {key}\r\n"
    last = f"{good}Connection: close\r\n\r\n".encode()
    address = urlsplit(site.url_bound)
    with socket.create_connection((address.hostname, address.port), TIMEOUT_SECONDS) as connection:
        connection.sendall(f"{good}\r\n".encode() * 400 + last[:30])
        connection.sendall(last[30:])
        assert statuses_of(read_all(connection)) == [200] * 401


def test_a_request_may_come_in_pieces(site: Site) -> None:
    """However the bytes of a request are cut, it is answered once, and the connection goes on."""
    key = site.key(BOB).secret
    request = f"GET {VERIFY} HTTP/1.1\r\nHost: {site.host}\r\nAuthorization: {key}\r\n\r\n".encode()
    address = urlsplit(site.url_bound)
    with socket.create_connection((address.hostname, address.port), TIMEOUT_SECONDS) as connection:
        for cut in range(1, len(request), 7):
            connection.sendall(request[:cut])
            connection.sendall(request[cut:])
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += connection.recv(4096)
            assert statuses_of(answer) == [200]


def test_the_old_version_of_http_is_answered_and_closed(site: Site) -> None:
    """A request of HTTP/1.0, or one that says so, ends its connection."""
    key = site.key(BOB).secret
    for version in ("1.0", "1.1"):
        answer = site.raw(
            f"GET {VERIFY} HTTP/{version}\r\nHost: {site.host}\r\nAuthorization: {key}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        assert status_of(answer) == 200


# Where from


def test_nobody_is_believed_by_default(site: Site) -> None:
    """Without trusted proxies, what a client says of its address is not noted (H10)."""
    key = site.key(BOB)
    for headers in ({}, LONGER_WAY):
        verify(site, key.secret, **{"X-Forwarded-For": "203.0.113.9", **headers})
        use = site.services.usage.latest(key.record)
        assert use is not None
        assert use.address == "127.0.0.1"
        assert use.via == "GET /verify"


def test_a_trusted_proxy_is_believed_from_the_right(open_site: SiteOpener) -> None:
    """Behind a trusted proxy the client is the first address from the right that is no proxy (H10)."""
    with open_site(trusted_proxies=(read_network("127.0.0.0/8"), read_network("10.0.0.0/8"))) as site:
        site.add_people()
        key = site.key(BOB)
        for headers in ({}, LONGER_WAY):
            for forwarded, client in (
                ("203.0.113.9", "203.0.113.9"),
                ("198.51.100.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
                ("10.1.2.3", "10.1.2.3"),
                ("198.51.100.1, nonsense", "127.0.0.1"),
            ):
                site.clock.advance(timedelta(seconds=1))
                verify(site, key.secret, **{"X-Forwarded-For": forwarded, **headers})
                use = site.services.usage.latest(key.record)
                assert use is not None
                assert use.address == client


def test_a_key_can_be_bound_to_networks(open_site: SiteOpener) -> None:
    """A key that is bound to networks works from these alone, remembered or not, as do its tokens."""
    with open_site(trusted_proxies=(read_network("127.0.0.1"),)) as site:
        site.add_people()
        bound = site.services.keys.create_for(
            site.users[BOB].user_id,
            COMMAND_LINE,
            NewKey(restrictions=restricted(allowFrom=["192.0.2.0/24", "2001:db8::/32"])),
        )
        inside = Origin(address="192.0.2.1")
        token = site.services.exchange.exchange(in_header=[], in_body=bound.secret, origin=inside).token
        for credential in (bound.secret, f"Bearer {token}"):
            for _ in range(2):
                for address, status in (("192.0.2.255", 200), ("192.0.3.0", 401), ("2001:db8::1", 200)):
                    answer = verify(site, credential, **{"X-Forwarded-For": address})
                    assert answer.status_code == status
                assert verify(site, credential).status_code == 401


# Too many failures


def test_one_client_s_failures_lock_nobody_out(open_site: SiteOpener) -> None:
    """A spent budget stops look-ups of its source alone, and nothing that is remembered (Q1)."""
    proxies = (read_network("127.0.0.1"),)
    with open_site(trusted_proxies=proxies, failures_per_minute=10) as site:
        site.add_people()
        known, unknown, elsewhere = (site.key(BOB).secret for _ in range(3))
        here, there = {"X-Forwarded-For": "203.0.113.9"}, {"X-Forwarded-For": "203.0.113.10"}
        assert verify(site, known, **here).status_code == 200

        answers = [verify(site, unknown_key(), **here) for _ in range(15)]

        assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 5
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert verify(site, known, **here).status_code == 200
        assert verify(site, known, **here, **LONGER_WAY).status_code == 200
        with site.client() as client:
            body = {"apikey": known}
            exchanged = client.post("/apikey/authenticate", json=body, headers=here)
        assert verify(site, f"Bearer {exchanged.json()['token']}", **here).status_code == 200
        with statements(site.services) as asked:
            assert verify(site, unknown, **here).status_code == 429
        assert [text for text in asked if text.startswith("SELECT") and "FROM api_key" in text] == []
        assert verify(site, elsewhere, **there).status_code == 200
        site.clock.advance(timedelta(minutes=1))
        assert verify(site, unknown, **here).status_code == 200
