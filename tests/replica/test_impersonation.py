"""Verifiers elsewhere know both accounts of a token that acts for somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.core.permissions import Permission
from keyturn.core.principal import Impersonator
from keyturn.services.keys.keys import NewKey
from tests.people import HERE, holder
from tests.replica.edges import accepts, wait_until

if TYPE_CHECKING:
    from tests.replica.edges import Edge

BOUND = 2.0


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_key_of_the_one_ends_the_token_of_the_other(edge: Edge, follow: bool) -> None:
    """By the feed and by introspection: who calls, who acts, and that the key of the one ends the token."""
    services = edge.services
    service = holder(services, "trino", Permission.IMPERSONATE_USER)
    key = services.keys.create(service, HERE, NewKey())
    token = services.impersonation.impersonate(key.secret, "bim", "bob", HERE).token
    with edge.verifier(follow=follow, max_staleness_seconds=BOUND) as verifier:
        wait_until(lambda: accepts(verifier, token))
        caller = verifier.verify(token)
        assert (caller.userid, caller.key_id, caller.is_unbound) == ("bob", None, False)
        assert caller.impersonator == Impersonator(service.user_id, "trino", key.record.key_id)

        services.keys.revoke_own(service, key.record.key_id, HERE)

        wait_until(lambda: not accepts(verifier, token))
