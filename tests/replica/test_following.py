"""The verifier that follows the feed: what the server says, said elsewhere."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn import (
    CannotStart,
    CredentialRefused,
    DpopProofRefused,
    Principal,
    Reason,
    StoreUnavailable,
    Verifier,
)
from keyturn.core.permissions import Permission
from keyturn.services.feed import stream as feed_service
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE, actor_of
from tests.people import HERE, change_behind, holder, restricted
from tests.replica.edges import accepts, answer_of, wait_until
from tests.replica.proxy import between

if TYPE_CHECKING:
    from tests.replica.edges import Edge


def refused_as(verifier: Verifier, credential: str, reason: Reason) -> bool:
    answer = answer_of(verifier, credential)
    return isinstance(answer, tuple) and answer[0] is reason


def test_whatever_was_issued_before_is_known(edge: Edge) -> None:
    """Keys and tokens from before the start say the same elsewhere as on the server, refusals too."""
    living, dead = edge.key(), edge.key()
    dead_token = edge.token(dead)
    edge.revoke(dead)
    bound = edge.services.keys.create_for(
        edge.bob.user_id,
        COMMAND_LINE,
        NewKey(restrictions=restricted(allowFrom=["127.0.0.0/8"])),
    )
    with edge.verifier() as verifier:
        for credential in (
            *(living.secret, edge.token(living), edge.login(), dead.secret, dead_token, bound.secret),
            *(living.secret[:-1] + "a", "0123456789abcdef" * 2, "a.b.c", "Basic x"),
        ):
            wait_until(
                lambda credential=credential: (  # type: ignore[misc]
                    answer_of(verifier, credential, source="127.0.0.1") == said_by_server(edge, credential)
                )
            )
        assert answer_of(verifier, bound.secret, source="192.0.2.1") == (
            Reason.SOURCE,
            bound.record.key_id,
            True,
        )


def said_by_server(edge: Edge, credential: str) -> object:
    try:
        return edge.services.authenticator.authenticate([credential.encode()], HERE)
    except CredentialRefused as refused:
        return refused.reason, refused.key_id, refused.secret_matched


def test_what_is_made_and_ended_later_is_known_soon(edge: Edge) -> None:
    """A new key is accepted, and after its end it and its token are refused with the reason."""
    with edge.verifier() as verifier:
        for _ in range(5):
            key = edge.key()
            wait_until(lambda: accepts(verifier, key.secret))  # noqa: B023 - called before the next
            token = edge.token(key)
            assert accepts(verifier, token)
            edge.revoke(key)
            wait_until(lambda: refused_as(verifier, key.secret, Reason.REVOKED))  # noqa: B023
            assert refused_as(verifier, token, Reason.REVOKED)


def test_a_key_that_was_refused_as_unknown_is_accepted_once_it_is_there(edge: Edge) -> None:
    """What was remembered as unknown is looked up again when keys come."""
    foreign = "Zx81_Q-7hd02hGGh2kkd9sla"
    with edge.verifier() as verifier:
        assert refused_as(verifier, foreign, Reason.UNKNOWN)
        edge.services.keys.import_foreign(
            edge.bob.user_id, COMMAND_LINE, text=foreign, name=None, lifetime=None
        )
        wait_until(lambda: accepts(verifier, foreign))


def test_a_rotated_key_has_two_secrets_for_a_while(edge: Edge) -> None:
    """After a rotation both secrets are good; the former one ends at its time, or at the next rotation."""
    key = edge.key()
    with edge.verifier() as verifier:
        tokens = [edge.token(key)]
        rotated = edge.services.key_rotation.rotate_own(
            edge.bob, key.record.key_id, HERE, overlap=timedelta(seconds=3)
        )
        tokens += [edge.token(key), edge.token(rotated)]
        wait_until(lambda: accepts(verifier, rotated.secret))
        for credential in (key.secret, rotated.secret, *tokens):
            assert answer_of(verifier, credential) == said_by_server(edge, credential)
        wait_until(lambda: refused_as(verifier, key.secret, Reason.EXPIRED))
        assert [accepts(verifier, token) for token in tokens] == [False, False, True]
        last = edge.services.key_rotation.rotate_own(
            edge.bob, key.record.key_id, HERE, overlap=timedelta(hours=1)
        )
        wait_until(lambda: accepts(verifier, last.secret))
        assert refused_as(verifier, tokens[0], Reason.REVOKED)
        assert accepts(verifier, tokens[2])
        again = edge.services.key_rotation.rotate_own(edge.bob, key.record.key_id, HERE, overlap=timedelta(0))
        wait_until(lambda: accepts(verifier, again.secret))
        wait_until(lambda: not accepts(verifier, rotated.secret))
        assert not accepts(verifier, tokens[2])
        assert answer_of(verifier, key.secret) == said_by_server(edge, key.secret)


def test_what_happens_to_a_person_happens_to_their_credentials(edge: Edge) -> None:
    """Rights, signing out, disabling and deleting are followed for keys and tokens alike."""
    services = edge.services
    admin = holder(services, "admin", Permission.USER_ADMIN, Permission.AUDIT)
    key, login = edge.key(), edge.login()
    with edge.verifier() as verifier:
        wait_until(lambda: accepts(verifier, login))
        services.user_administration.set_permissions(admin, "bim", "bob", [Permission.AUDIT], HERE)
        wait_until(lambda: Permission.AUDIT in permissions_of(verifier, key.secret))
        services.users.sign_out(COMMAND_LINE, "bob")
        wait_until(lambda: not accepts(verifier, login))
        assert accepts(verifier, key.secret)
        services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=True)
        wait_until(lambda: refused_as(verifier, key.secret, Reason.OWNER_DISABLED))
        services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=False)
        wait_until(lambda: accepts(verifier, key.secret))
        services.offboarding.delete(admin, "bim", "bob", HERE)
        wait_until(lambda: refused_as(verifier, key.secret, Reason.UNKNOWN))


def permissions_of(verifier: Verifier, credential: str) -> frozenset[str]:
    answer = answer_of(verifier, credential)
    return answer.permissions if isinstance(answer, Principal) else frozenset()


def test_signing_keys_are_followed_without_a_fetch(edge: Edge) -> None:
    """A token of a key that was made just now is good, and none is after all others were retired (T14)."""
    key = edge.key()
    with edge.verifier() as verifier:
        old = edge.token(key)
        assert accepts(verifier, old)
        edge.services.signing_keys.rotate(COMMAND_LINE, lead=timedelta(0))
        new = edge.token(key)
        wait_until(lambda: accepts(verifier, new))
        assert accepts(verifier, old)
        edge.services.signing_keys.replace_at_once(COMMAND_LINE)
        wait_until(lambda: refused_as(verifier, new, Reason.SIGNATURE))
        assert refused_as(verifier, old, Reason.SIGNATURE)
        newest = edge.token(key)
        wait_until(lambda: accepts(verifier, newest))


def test_a_token_that_was_revoked_by_itself_is_refused(edge: Edge) -> None:
    """RFC 7009: the token dies, and its key lives."""
    key = edge.key()
    token = edge.token(key)
    with edge.verifier() as verifier:
        assert accepts(verifier, token)
        principal = verifier.verify(key.secret)
        edge.services.revocation.revoke(token, actor_of(principal, HERE))
        wait_until(lambda: refused_as(verifier, token, Reason.REVOKED))
        assert accepts(verifier, key.secret)


def test_a_change_of_an_unknown_kind_is_followed_too(edge: Edge) -> None:
    """What cannot be named is told by a full copy, on the same stream."""
    key, other = edge.key(), edge.key()
    with edge.verifier() as verifier:
        assert accepts(verifier, key.secret)
        narrow = "UPDATE api_key SET scopes = '[\"a\"]' WHERE id = :id"
        change_behind(edge.services, narrow, id=key.record.key_id)
        wait_until(lambda: accepts(verifier, other.secret) and scopes_of(verifier, key.secret) == {"a"})
        change_behind(edge.services, "DELETE FROM api_key WHERE id = :id", id=other.record.key_id)
        wait_until(lambda: refused_as(verifier, other.secret, Reason.UNKNOWN))
        assert scopes_of(verifier, key.secret) == {"a"}


def scopes_of(verifier: Verifier, credential: str) -> frozenset[str] | None:
    answer = answer_of(verifier, credential)
    return answer.scopes if isinstance(answer, Principal) else None


def test_a_closed_verifier_lets_nobody_in(edge: Edge) -> None:
    """Once nobody follows, what is remembered is worth nothing."""
    key = edge.key()
    verifier = edge.verifier()
    assert accepts(verifier, key.secret)
    verifier.close()
    assert answer_of(verifier, key.secret) is StoreUnavailable


def test_uses_come_back(edge: Edge) -> None:
    """That a key was used elsewhere is seen where its owner looks."""
    key = edge.key()
    with edge.verifier() as verifier:
        verifier.verify(key.secret, source="192.0.2.7")
    (listed,) = edge.services.store.api_keys.list_of_user(edge.bob.user_id)
    assert listed.last_use is not None
    assert listed.last_use.address == "192.0.2.7"
    (caller,) = edge.services.key_uses.callers(listed)
    assert (caller.address, caller.uses, caller.refused) == ("192.0.2.7", 1, 0)


def test_refusals_elsewhere_stay_untold(edge: Edge) -> None:
    """A verifier elsewhere reports uses as every server takes them, beside refusals and without."""
    used, dead = edge.key(), edge.key()
    edge.revoke(dead)
    with edge.verifier() as verifier:
        verifier.verify(used.secret, source="192.0.2.7")
        for key in (used, dead):
            with pytest.raises((CredentialRefused, DpopProofRefused)):
                verifier.verify(f"DPoP {key.secret}" if key is used else key.secret)
    counts = edge.services.key_uses.by_day([used.record, dead.record])
    assert [list(days.values()) for days in counts.values()] == [[(1, 0)]]


def test_whoever_loses_the_right_is_left_without_an_answer(edge: Edge) -> None:
    """When the follower's own key ends, so does its trust, and it says why."""
    key = edge.key()
    with edge.verifier(max_staleness_seconds=2) as verifier:
        assert accepts(verifier, key.secret)
        edge.services.keys.revoke_of(edge.follower.record.user_id, edge.follower.record.key_id, COMMAND_LINE)
        wait_until(lambda: answer_of(verifier, key.secret) is StoreUnavailable)
        with pytest.raises(StoreUnavailable, match="refuses the key"):
            verifier.verify(key.secret)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://keyturn.example", "https"),
        ("https://user@keyturn.example", "https://host"),
        ("https://keyturn.example/?a=b", "https://host"),
        ("https://keyturn.example:port", "https://host"),
        ("https://[", "https://host"),
        ("https://", "https://host"),
        ("http://127.0.0.1:9", "Within 0.2 seconds"),
    ],
)
def test_what_cannot_be_followed_is_said_at_the_start(url: str, sentence: str) -> None:
    """An address in clear, or one where nobody is, stops the start with one sentence."""
    with pytest.raises(CannotStart, match=sentence):
        Verifier(url, "kt_x", timeout=0.2)
    with pytest.raises(CannotStart, match="given a key"):
        Verifier(url)


@pytest.mark.parametrize("key", ["ü", "kt_a b", "kt_a\r\nx: y", "\x00"])
def test_what_cannot_be_a_key_is_said_at_the_start(key: str) -> None:
    """A text that no header holds is refused before anything is sent, and not repeated."""
    with pytest.raises(CannotStart, match="This is not a key") as refused:
        Verifier("http://127.0.0.1:9", key)
    assert key not in str(refused.value)


def test_a_bound_that_is_too_short_is_refused() -> None:
    """With less than two seconds there would be gaps between the words of the server."""
    with pytest.raises(CannotStart, match="at least 2"):
        Verifier("http://127.0.0.1:9", "kt_x", max_staleness_seconds=1)


def test_a_key_that_is_not_known_stops_the_start(edge: Edge) -> None:
    """A wrong key is told of at the start."""
    with pytest.raises(CannotStart, match="refuses the key"):
        Verifier(edge.server.url, edge.follower.secret[:-1] + "0")


def test_a_key_goes_in_clear_to_no_proxy(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server on this machine is asked directly, whatever the environment says of proxies."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with between("http://127.0.0.1:1") as proxy:
        proxy.replay = b""
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        with edge.verifier(timeout=10):
            pass
        assert proxy.connections == 0


def test_no_stranger_follows(edge: Edge) -> None:
    """Without the permission, or with a key that is narrowed, it is 403; without a credential 401."""
    narrowed = edge.services.keys.create_for(edge.follower.record.user_id, COMMAND_LINE, NewKey())
    narrow = "UPDATE api_key SET scopes = '[\"a\"]' WHERE id = :id"
    change_behind(edge.services, narrow, id=narrowed.record.key_id)
    question = {"nonce": "n" * 16}
    for headers, status in (
        ({}, 401),
        ({"Authorization": edge.key().secret}, 403),
        ({"Authorization": narrowed.secret}, 403),
    ):
        for path in ("/feed", "/feed/uses"):
            method = "GET" if path == "/feed" else "POST"
            url = f"{edge.server.url}{path}"
            answer = httpx.request(method, url, params=question, headers=headers, json={"uses": []})
            assert answer.status_code == status


NONCE = "nonce=" + "n" * 16
EVENT = "event_id=" + "0" * 36


@pytest.mark.parametrize(
    "query",
    [
        "",
        "nonce=short",
        "nonce=" + "n" * 65,
        f"{NONCE}&{NONCE}",
        f"{NONCE}&x=1",
        f"{NONCE}&revision=1",
        f"{NONCE}&{EVENT}",
        f"{NONCE}&revision=-1&{EVENT}",
        f"{NONCE}&revision=0&{EVENT}",
        f"{NONCE}&revision=99999999999999999999&{EVENT}",
    ],
)
def test_a_question_that_is_none_is_refused(edge: Edge, query: str) -> None:
    """A missing or odd parameter is 400, before anything is streamed."""
    headers = {"Authorization": edge.follower.secret}
    assert httpx.get(f"{edge.server.url}/feed?{query}", headers=headers).status_code == 400


def test_a_mark_that_the_database_has_not_reached_is_not_answered(edge: Edge) -> None:
    """D7: whoever has seen more than this database is not told an older state."""
    query = {"nonce": "n" * 16, "revision": 10**6, "event_id": "0" * 36}
    headers = {"Authorization": edge.follower.secret}
    assert httpx.get(f"{edge.server.url}/feed", params=query, headers=headers).status_code == 503


def test_followers_are_bounded(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than the server takes is told to come back, and is taken once another has left."""
    monkeypatch.setattr(feed_service, "MAX_FOLLOWERS", 1)
    headers = {"Authorization": edge.follower.secret}
    with edge.verifier():
        answer = httpx.get(f"{edge.server.url}/feed", params={"nonce": "n" * 16}, headers=headers)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
    with edge.verifier():
        pass


def test_two_followers_are_told_the_same(edge: Edge) -> None:
    """A change reaches everybody who follows."""
    another = edge.services.keys.create_for(edge.follower.record.user_id, COMMAND_LINE, NewKey("another"))
    with edge.verifier() as one, Verifier(edge.server.url, another.secret) as two:
        key = edge.key()
        for verifier in (one, two):
            wait_until(lambda: accepts(verifier, key.secret))  # noqa: B023 - called before the next
        edge.revoke(key)
        for verifier in (one, two):
            wait_until(lambda: not accepts(verifier, key.secret))  # noqa: B023
