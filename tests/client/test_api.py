"""The typed client against a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.client import ApiClient, ServerRefused

if TYPE_CHECKING:
    from tests.client.conftest import Keyed


@pytest.mark.parametrize("exchanges", [False, True])
def test_a_person_s_keys_are_made_listed_and_revoked(keyed: Keyed, *, exchanges: bool) -> None:
    """With the key or with tokens for it, the client does what the profile page does."""
    with ApiClient(keyed.url, keyed.key, exchanges=exchanges) as client:
        assert client.current_user().userid == "bob"
        made = client.create_key("nightly export")
        assert made.apikey.startswith("kt_")
        assert [key.name for key in client.list_keys()] == ["nightly export", "first"]
        client.revoke_key(made.id)
        assert [key.state for key in client.list_keys()] == ["revoked", "active"]
        with ApiClient(keyed.url, made.apikey) as dead, pytest.raises(ServerRefused) as refused:
            dead.current_user()
    assert refused.value.status == 401


def test_more_keys_than_a_page_are_all_listed(keyed: Keyed) -> None:
    """A list is read to its end, each key once, however many pages it takes."""
    with ApiClient(keyed.url, keyed.key) as client:
        made = [client.create_key(str(number)).id for number in range(205)]
        listed = [key.id for key in client.list_keys()]
    assert listed == [*reversed(made), keyed.made.record.key_id]


def test_a_refusal_is_what_the_server_says(keyed: Keyed) -> None:
    """Status, sentence and request id of a refusal are those of the answer."""
    with ApiClient(keyed.url, keyed.key) as client:
        with pytest.raises(ServerRefused, match="APPLICATION_ADMIN") as refused:
            client.connection("no such one")
        assert refused.value.status == 403
        assert refused.value.request_id
        with pytest.raises(ServerRefused) as absent:
            client.revoke_key(987654)
        assert absent.value.status == 404


def test_nothing_of_it_shows_a_secret(keyed: Keyed) -> None:
    """Neither the client nor a new key shows a secret when it is printed (S5)."""
    with ApiClient(keyed.url, keyed.key) as client:
        made = client.create_key()
        assert keyed.key not in repr(client) + repr(vars(client))
        assert made.apikey not in repr(made)


def test_a_key_goes_to_its_server_alone(keyed: Keyed) -> None:
    """No address in clear, no whole address in place of a path: neither is asked anything."""
    with pytest.raises(ValueError, match="https"):
        ApiClient("http://keys.example.com", keyed.key)
    with ApiClient(keyed.url, keyed.key) as client:
        for path in ("https://evil.example/", "//evil.example/", "evil"):
            with pytest.raises(ValueError, match="path"):
                client.request("GET", path)


def test_a_key_is_restricted_to_requests(keyed: Keyed) -> None:
    """The client sends methods and paths, and tells of them in what it makes and lists."""
    with ApiClient(keyed.url, keyed.key) as client:
        made = client.create_key(allow_methods=["GET"], allow_paths=["/bim/rpc", "/bim/iam"])
        listed = next(one for one in client.list_keys() if one.id == made.id)
    for found in (made, listed):
        assert (found.allow_methods, found.allow_paths) == (["GET"], ["/bim/rpc", "/bim/iam"])
    with ApiClient(keyed.url, made.apikey) as restricted:
        assert restricted.current_user()
        with pytest.raises(ServerRefused) as refused:
            restricted.create_key()
    assert refused.value.status == 401
