"""A service that is registered: only tokens for it are good, behind every integration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn import CannotStart, Verifier
from keyturn.verifying.origin import COMMAND_LINE
from tests.apis import identifier_of, register, token_for
from tests.integrations.sites import Options, running

if TYPE_CHECKING:
    from tests.integrations.issuer import Issuer

ORDERS = identifier_of("orders")


def test_each_integration_judges_for_its_service(own_issuer: Issuer, integration: str) -> None:
    """Its tokens and keys that cover a scope of it pass; others do not; once it is deleted, nobody does."""
    services = own_issuer.services
    orders = register(services, "orders")
    register(services, "stock")
    key, of_stock = own_issuer.key(), own_issuer.narrowed('["stock:read"]')
    token = token_for(services, key.secret, "orders", "orders:read")
    too_narrow = token_for(services, key.secret, "orders", "orders:write")
    with running(integration, Options(own_issuer.database, audience=ORDERS)) as site:
        for _ in range(2):
            for credential in (key.secret, token):
                assert site.call(credential).json() == {"for": "bob"}
            for credential in (own_issuer.token(key), token_for(services, key.secret, "stock")):
                refused = site.call(credential)
                assert refused.status_code == 401
                assert "for another API" in refused.headers["www-authenticate"]  # Fault G9
            assert site.call(of_stock.secret).status_code == 403
            assert site.call(too_narrow).status_code == 403
            assert site.call(too_narrow, "/whoami").status_code == 200
        services.apis.unregister(COMMAND_LINE, orders.resource_id)
        for credential in (key.secret, token):
            answer = site.call(credential)
            assert (answer.status_code, "registered" in answer.json()["message"]) == (503, True)
            assert site.call(credential, "/whoami").status_code == 503


def test_a_verifier_is_opened_for_what_is_registered(own_issuer: Issuer) -> None:
    """For an API that is not registered a verifier does not start, and says which."""
    with pytest.raises(CannotStart, match=r"https://orders\.example\.com"):
        Verifier(own_issuer.database, audience=ORDERS)
    register(own_issuer.services, "orders")
    with Verifier(own_issuer.database, audience=ORDERS) as verifier:
        caller = verifier.verify(own_issuer.key().secret)
        assert (caller.scopes, caller.carried_permissions) == ({"orders:read", "orders:write"}, frozenset())
