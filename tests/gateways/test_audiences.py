"""Behind a real gateway that asks for one service, tokens for another one open nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.apis import identifier_of, register, token_for
from tests.gateways.conftest import BOB, Scene, narrowed_key
from tests.gateways.gateways import KINDS, running_gateway
from tests.gateways.test_identity import identity
from tests.gateways.upstreams import running_api

if TYPE_CHECKING:
    from pathlib import Path

    from tests.web.sites import Site

ORDERS, STOCK = "orders", "stock"
ASKED = "audience=https%3A%2F%2Forders.example.com"
CHANGES = {
    "nginx": {
        "http://keyturn/verify;": f"http://keyturn/verify?{ASKED};",
        "http://keyturn/verify?scope=orders:read;": f"http://keyturn/verify?{ASKED}&scope=orders:read;",
    },
    "Caddy": {
        "uri /verify?  #": f"uri /verify?{ASKED}  #",
        "uri /verify?scope=orders:read": f"uri /verify?{ASKED}&scope=orders:read",
    },
    "Traefik": {
        '8400/verify"': f'8400/verify?{ASKED}"',
        "8400/verify?scope=orders:read": f"8400/verify?{ASKED}&scope=orders:read",
    },
    "Envoy": {
        "path_override: /verify\n": f"path_override: /verify?{ASKED}\n",
        "path_override: /verify?scope=orders:read": f"path_override: /verify?{ASKED}&scope=orders:read",
    },
    "HAProxy": {'local AUDIENCE = ""': f'local AUDIENCE = "{identifier_of(ORDERS)}"'},
}
"""What the documentation says to write for an API that is registered."""


@pytest.fixture(scope="module")
def registered(site: Site) -> Site:
    for name in (ORDERS, STOCK):
        register(site.services, name)
    return site


@pytest.mark.parametrize("name", CHANGES)
def test_a_gateway_asks_for_its_own_service(registered: Site, tmp_path: Path, name: str) -> None:
    """Tokens for the service pass, also to where a scope is asked for; others get 401, whatever they send."""
    services, key = registered.services, registered.key(BOB).secret
    with (
        running_api() as api,
        running_gateway(
            KINDS[name], tmp_path, keyturn=registered.url, api=api.url, changes=CHANGES[name]
        ) as gateway,
    ):
        scene = Scene(gateway, registered, api, key, "")
        token = token_for(services, key, ORDERS, "orders:read")
        for target in ("/reports/1", "/orders/1"):
            seen = identity(scene.passed(target, f"Bearer {token}"))
            assert (seen["keyturn-user"], seen["keyturn-scopes"]) == (BOB, "orders:read")
            assert identity(scene.passed(target, key))["keyturn-scopes"] == "orders:read orders:write"
            for wrong in (token_for(services, key, STOCK), token_for(services, key, None)):
                for line in ("X-Unrelated: 1", f"Keyturn-Audience: {identifier_of(STOCK)}"):
                    refused = scene.refused(target, f"Bearer {wrong}", line)
                    assert refused.status == 401
                query = f"{target}?audience={identifier_of(STOCK)}"
                assert scene.refused(query, f"Bearer {wrong}").status == 401
            assert scene.refused(target, narrowed_key(registered, "stock:read")).status == 403
        write = token_for(services, key, ORDERS, "orders:write")
        assert scene.refused("/orders/1", write).status == 403
        assert scene.get("/reports/1", write).status == 200
