"""What a caller may do, as each kind of verifier says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn import PermissionMissing
from keyturn.core.permissions import Permission
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.people import change_behind
from tests.test_closing import KINDS, edge

if TYPE_CHECKING:
    from tests.replica.edges import Edge

__all__ = ["edge"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_a_narrowed_key_of_one_who_may_everything_carries_nothing(
    edge: Edge,
    database: str,
    kind: str,
) -> None:
    """Whatever `permissions` says of the owner, what decides is the same in every kind of verifier."""
    owner = edge.services.users.add(
        COMMAND_LINE, userid="root", name=None, password=None, permissions=frozenset(Permission)
    )
    whole, narrow = (
        edge.services.keys.create_for(owner.user_id, COMMAND_LINE, NewKey(name))
        for name in ("whole", "narrow")
    )
    change_behind(
        edge.services,
        "UPDATE api_key SET scopes = '[\"orders:read\"]' WHERE id = :id",
        id=narrow.record.key_id,
    )
    with KINDS[kind](edge, database) as verifier:
        if not kind.endswith("service"):
            caller = verifier.verify(whole.secret)
            assert caller.carried_permissions == frozenset(Permission)
            assert all(caller.may(permission) for permission in Permission)
        caller = verifier.verify(narrow.secret)
        assert caller.carried_permissions == frozenset()
        assert not any(caller.may(permission) for permission in Permission)
        with pytest.raises(PermissionMissing):
            caller.check_may(*Permission)
