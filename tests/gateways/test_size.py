"""The largest identity that Keyturn tells passes every gateway whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from keyturn.core.apis import MAX_SCOPE_CHARACTERS, MAX_SCOPES_CHARACTERS
from keyturn.core.permissions import Permission
from keyturn.core.principal import AuthMethod, PresentedCredential, Principal
from keyturn.services.apis.fields import ScopeToRegister
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.users import USERID_MAX_CHARACTERS
from keyturn.verifying.origin import COMMAND_LINE
from keyturn.web.forward_auth import MAX_IDENTITY_BYTES, header_block
from tests.gateways.test_identity import THERE, identity
from tests.people import change_behind

if TYPE_CHECKING:
    from tests.gateways.conftest import Scene
    from tests.web.sites import Site

LONGEST_NAME = "\U00020000" * USERID_MAX_CHARACTERS
"""Each character is four bytes, so twelve when it is percent-encoded."""
CHINESE_NAME = "\u9375" * 250


def longest_scopes() -> list[str]:
    """Return as many scopes as a service or a key may have, of the character that grows most."""
    room, scopes = MAX_SCOPES_CHARACTERS, []
    while room > 5:
        length = min(MAX_SCOPE_CHARACTERS, room - 1)
        scopes.append(f"{len(scopes):02}" + "%" * (length - 2))
        room -= length + 1
    return scopes


@pytest.fixture(scope="package")
def long_names(site: Site) -> dict[str, str]:
    """Keys of users with long names: one that is narrowed to every scope, one with every permission."""
    site.services.apis.register(
        COMMAND_LINE,
        name="large",
        identifier="https://large.example.com",
        description=None,
        scopes=[ScopeToRegister(scope, None) for scope in longest_scopes()],
    )
    keys = {}
    for name, scopes in ((LONGEST_NAME, longest_scopes()), (CHINESE_NAME, None)):
        user = site.add_user(name, frozenset(Permission))
        made = site.services.keys.create_for(user.user_id, COMMAND_LINE, NewKey())
        listed = None if scopes is None else json.dumps(scopes)
        change_behind(
            site.services,
            "UPDATE api_key SET scopes = :scopes WHERE id = :id",
            scopes=listed,
            id=made.record.key_id,
        )
        keys[name] = made.secret
    return keys


def test_fault_c7_the_largest_identity_is_bounded() -> None:
    """The longest name and number, with all scopes or permissions, are within what is documented."""
    for scopes in (None, frozenset(longest_scopes())):
        largest = Principal(
            user_id=2**63 - 1,
            userid=LONGEST_NAME,
            iamid="bim",
            name=None,
            permissions=frozenset(Permission),
            scopes=scopes,
            method=AuthMethod.ACCESS_TOKEN,
            key_id=2**63 - 1,
            project_id=None,
            withheld=frozenset(),
            jkt=None,
            requests=None,
            impersonator=None,
            credential=PresentedCredential(None),
        )
        assert len(header_block(largest)) <= MAX_IDENTITY_BYTES


@pytest.mark.parametrize("name", [CHINESE_NAME, LONGEST_NAME], ids=["Chinese", "longest"])
def test_fault_c7_the_largest_identity_passes(scene: Scene, long_names: dict[str, str], name: str) -> None:
    """The API gets all of it, also beside headers of the client that are large themselves."""
    lines = [f"X-Filler-{number}: {'a' * 1000}" for number in range(6)]
    for given in ([], lines):
        seen = identity(scene.passed("/reports/1", long_names[name], *given, source=THERE))
        assert seen["keyturn-user"] == seen["remote-user"] == quote(name)
        if name == LONGEST_NAME:
            told = {scope.replace("%25", "%") for scope in seen["keyturn-scopes"].split(" ")}
            assert told == set(longest_scopes())
        else:
            assert set(seen["keyturn-permissions"].split(" ")) == set(Permission)
    assert scene.refused("/orders/1", long_names[LONGEST_NAME]).status == 403
