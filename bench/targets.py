"""What is put under load: each target, the server that it needs, and what it must answer."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from bench.installations import CONNECTION_PATH, KEYS_PATH, USERID, VERIFY_PATH, exchange
from bench.wire import Answer, Request

Credentials = Mapping[str, str]
"""By name, as the server's starter gives them."""


CONNECTIONS = 32
"""How many ask at once, unless a target says otherwise."""


class Group(StrEnum):
    """On which side of the comparison a target stands."""

    BARE = "bare"
    KEYTURN = "keyturn"
    OTHER = "other"
    """Keyturn too, at work that no peer here does."""
    PEER = "peer"


class Verdict(StrEnum):
    """How an answer tells whether the credential was good."""

    STATUS = "status"
    """200 or not."""
    INTROSPECTION = "introspection"
    """`active` in a body of JSON (RFC 7662, section 2.2)."""
    NONE = "none"
    """Nothing is checked: the bare server."""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to measure."""

    name: str
    title: str
    group: Group
    server: str
    """A name in `starters.STARTERS`."""
    request: Callable[[Credentials], Request]
    credential: str
    """The name of the credential that the request shows, which is spoiled for the trial."""
    verdict: Verdict = Verdict.STATUS
    is_refused: bool = False
    """The load is made of refusals, and each must be one."""
    connections: int = CONNECTIONS


GOOD = 200
REFUSALS = (401, 403, 429)


def accepts(target: Target, answer: Answer) -> bool:
    """Return whether this answer lets the caller in."""
    if answer.status != GOOD:
        return False
    return target.verdict is not Verdict.INTROSPECTION or bool(json.loads(answer.body)["active"])


def refuses(target: Target, answer: Answer) -> bool:
    """Return whether this answer refuses the credential, and is no other failure."""
    if target.verdict is Verdict.INTROSPECTION:
        return answer.status == GOOD and json.loads(answer.body)["active"] is False
    return answer.status in REFUSALS


def spoiled(credential: str) -> str:
    """Return the credential with its last character changed: well formed to most, good to nobody."""
    return credential[:-1] + ("b" if credential[-1] != "b" else "a")


def _get(
    path: str, scheme: str, credential: str, header: str = "Authorization"
) -> Callable[[Credentials], Request]:
    return lambda known: Request("GET", path, {header: f"{scheme}{known[credential]}"})


def _introspect(
    path: str, authorization: Callable[[Credentials], str], token: str
) -> Callable[[Credentials], Request]:
    return lambda known: Request(
        "POST",
        path,
        {"Authorization": authorization(known), "Content-Type": "application/x-www-form-urlencoded"},
        body=f"token={known[token]}",
    )


def _bare(name: str, title: str) -> Target:
    return Target(
        name, title, Group.BARE, name, lambda _known: Request("GET", "/"), credential="", verdict=Verdict.NONE
    )


def _verify(
    name: str, title: str, server: str, scheme: str, credential: str, *, is_refused: bool = False
) -> Target:
    request = _get(VERIFY_PATH, scheme, credential)
    return Target(name, title, Group.KEYTURN, server, request, credential, is_refused=is_refused)


def _peer(
    name: str, title: str, server: str, request: Callable[[Credentials], Request], credential: str
) -> Target:
    return Target(name, title, Group.PEER, server, request, credential)


TARGETS = (
    _bare("bare-asgi", "Bare ASGI, Keyturn's uvicorn"),
    _bare("bare-asgi-plain", "Bare ASGI, plain uvicorn"),
    _verify("keyturn-verify-key-sqlite", "Keyturn, key, SQLite", "keyturn-sqlite", "", "key"),
    Target(
        "keyturn-verify-scope-sqlite",
        "Keyturn, key and a scope, SQLite",
        Group.KEYTURN,
        "keyturn-sqlite",
        _get(f"{VERIFY_PATH}?scope=orders:read", "", "key"),
        "key",
    ),
    _verify("keyturn-verify-token-sqlite", "Keyturn, token, SQLite", "keyturn-sqlite", "Bearer ", "token"),
    _verify("keyturn-verify-key-postgresql", "Keyturn, key, PostgreSQL", "keyturn-postgresql", "", "key"),
    _verify(
        "keyturn-verify-token-postgresql",
        "Keyturn, token, PostgreSQL",
        "keyturn-postgresql",
        "Bearer ",
        "token",
    ),
    _verify(
        "keyturn-verify-refused-sqlite",
        "Keyturn, unknown key refused, SQLite",
        "keyturn-refusing",
        "",
        "unknown",
        is_refused=True,
    ),
    _verify(
        "keyturn-verify-malformed-sqlite",
        "Keyturn, malformed key refused, SQLite",
        "keyturn-refusing",
        "",
        "malformed",
        is_refused=True,
    ),
    Target(
        "keyturn-openapi",
        "Keyturn, the description of the API",
        Group.OTHER,
        "keyturn-sqlite",
        lambda _known: Request("GET", "/openapi.json"),
        credential="",
        verdict=Verdict.NONE,
    ),
    Target(
        "keyturn-connection",
        "Keyturn, read a connection",
        Group.OTHER,
        "keyturn-sqlite",
        _get(CONNECTION_PATH, "", "key"),
        "key",
    ),
    *(
        Target(
            f"keyturn-read-{name}",
            f"Keyturn, {title}",
            Group.OTHER,
            "keyturn-lists",
            _get(path, "", "key"),
            "key",
        )
        for name, title, path in (
            ("user", "read who one is", "/bim/rpc/user/current"),
            ("users", "list 25 users", "/bim/user?size=25"),
            ("keys", "list 25 keys", f"/bim/iam/bim/user/{USERID}/apikeys?size=25"),
            ("projects", "list 25 projects", "/project?size=25"),
            ("groups", "list 25 groups", "/bim/group?size=25"),
        )
    ),
    Target(
        "keyturn-exchange",
        "Keyturn, exchange a key for a token",
        Group.OTHER,
        "keyturn-sqlite",
        lambda known: exchange(known["key"]),
        "key",
    ),
    Target(
        "keyturn-create-key",
        "Keyturn, make a key, SQLite",
        Group.OTHER,
        "keyturn-creating",
        lambda known: Request("POST", KEYS_PATH, {"Authorization": known["key"]}),
        "key",
    ),
    _peer(
        "fastapi-dictionary",
        "FastAPI, dictionary of SHA-256",
        "fastapi-dictionary",
        _get("/verify", "", "key"),
        "key",
    ),
    _peer(
        "keyshield-memory",
        "keyshield, cached, in memory",
        "keyshield-memory",
        _get("/verify", "Bearer ", "key"),
        "key",
    ),
    # Its transaction stays open for the 0.1 to 0.3 s that it waits, and so SQLite refuses a second writer.
    Target(
        "keyshield-sqlite",
        "keyshield, cached, SQLite, 1 connection",
        Group.PEER,
        "keyshield-sqlite",
        _get("/verify", "Bearer ", "key"),
        "key",
        connections=1,
    ),
    _peer(
        "fastapi-users",
        "fastapi-users, database strategy",
        "fastapi-users",
        _get("/verify", "Bearer ", "token"),
        "token",
    ),
    _peer(
        "drf-api-key",
        "djangorestframework-api-key",
        "drf-api-key",
        _get("/api-key", "Api-Key ", "api_key"),
        "api_key",
    ),
    _peer(
        "knox-1-token",
        "django-rest-knox, 1 token",
        "knox-1-token",
        _get("/knox", "Token ", "knox_one"),
        "knox_one",
    ),
    _peer(
        "knox-1000-tokens",
        "django-rest-knox, 1,000 tokens of the user",
        "knox-1000-tokens",
        _get("/knox", "Token ", "knox_many"),
        "knox_many",
    ),
    Target(
        "django-oauth-toolkit",
        "django-oauth-toolkit, introspection",
        Group.PEER,
        "django-oauth-toolkit",
        _introspect("/introspect/", lambda known: f"Bearer {known['resource_server']}", "access_token"),
        "access_token",
        Verdict.INTROSPECTION,
    ),
    Target(
        "oidc-provider",
        "oidc-provider, introspection",
        Group.PEER,
        "oidc-provider",
        _introspect("/token/introspection", lambda known: known["authorization"], "token"),
        "token",
        Verdict.INTROSPECTION,
    ),
    _peer(
        "better-auth", "better-auth, API-key plugin", "better-auth", _get("/", "", "key", "x-api-key"), "key"
    ),
)
BASELINE = "bare-asgi"
"""What every ratio is to."""
