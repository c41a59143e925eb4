"""The checker itself can fail: each kind of break, made up, is found."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.faults.oracle import Fate, Oracle, Probe, StoredKey, StoredState, TrackedKey


@pytest.fixture
def oracle() -> Oracle:
    """Two keys: `a` (1) lives, `b` (2) was revoked at 20.0 s."""
    oracle = Oracle()
    for number, name in ((1, "a"), (2, "b")):
        key = oracle.create_begins(name, f"retry {name}")
        oracle.create_acked(key, number, f"secret {name}", 10.0)
    oracle._live.reverse()
    revoked = oracle.revoke_begins(_first_of_all(), 19.0)
    assert revoked is not None
    assert revoked.name == "b"
    oracle.revoke_acked(revoked, 20.0)
    return oracle


@pytest.fixture
def stored() -> StoredState:
    """What the database holds when nothing broke."""
    return StoredState(
        keys={1: StoredKey(1, "a", is_revoked=False), 2: StoredKey(2, "b", is_revoked=True)},
        created={1: 1, 2: 1},
        deleted={2: 1},
        revisions=[1, 2, 3],
        revision=3,
        problems=[],
    )


def test_nothing_is_wrong_when_nothing_broke(oracle: Oracle, stored: StoredState) -> None:
    """A faithful server passes every check."""
    alive, dead = oracle.keys
    oracle.judge(_probe(alive), 200, began_at=30.0)
    oracle.judge(_probe(dead), 401, began_at=30.0)
    oracle.judge(_probe(dead), 200, began_at=19.5)  # Began before the acknowledgement: may pass.
    oracle.found(alive, 200, 40.0)
    oracle.found(dead, 401, 40.0)
    assert oracle.compare_with_store(stored) == []
    assert [oracle.lost, oracle.revived, oracle.refused, oracle.other] == [[], [], [], []]
    assert oracle.share_of_live_accepted == 1


def test_a_lost_key_is_found(oracle: Oracle, stored: StoredState) -> None:
    """I1: an acknowledged key that a restart lost is reported, by its answer and by the database."""
    oracle.found(oracle.keys[0], 401, 40.0)
    assert len(oracle.lost) == 1
    lost = replace(stored, keys={2: stored.keys[2]})
    assert any("'a'" in problem for problem in oracle.compare_with_store(lost))


@pytest.mark.parametrize("status", [200, 503])
def test_a_revived_key_is_found(oracle: Oracle, stored: StoredState, status: int) -> None:
    """I2: a revoked key that is accepted, or no longer surely refused, is reported."""
    oracle.found(oracle.keys[1], status, 40.0)
    assert len(oracle.revived) == 1
    revived = replace(stored, keys=stored.keys | {2: StoredKey(2, "b", is_revoked=False)}, deleted={})
    assert oracle.compare_with_store(revived)


def test_an_accept_after_the_acknowledgement_is_found(oracle: Oracle) -> None:
    """I2: a request that began after the acknowledged revoke and was accepted is reported."""
    oracle.judge(_probe(oracle.keys[1]), 200, began_at=20.001)
    assert len(oracle.revived) == 1


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_refused_living_key_is_counted(oracle: Oracle, status: int) -> None:
    """I3: a living key that is not accepted lowers the share of accepted ones."""
    oracle.judge(_probe(oracle.keys[0]), status, began_at=30.0)
    oracle.judge(_probe(oracle.keys[0]), 200, began_at=30.0)
    assert oracle.share_of_live_accepted == 0.5


def test_a_request_without_an_answer_is_counted(oracle: Oracle) -> None:
    """I3: no answer, with nothing killed, is as bad as a refusal."""
    oracle.unanswered(_probe(oracle.keys[0]))
    assert oracle.share_of_live_accepted == 0


def test_a_second_key_from_a_retry_is_found(oracle: Oracle, stored: StoredState) -> None:
    """I6: a retry that made another key is reported, by its answer and by the database."""
    oracle.create_retried(oracle.keys[0], 3, "secret c", 50.0)
    assert len(oracle.other) == 1
    twice = replace(
        stored,
        keys=stored.keys | {3: StoredKey(3, "a", is_revoked=False)},
        created=stored.created | {3: 1},
        revisions=[1, 2, 3, 4],
        revision=4,
    )
    assert oracle.compare_with_store(twice)


@pytest.mark.parametrize(
    "change",
    [
        {"created": {1: 1}},
        {"created": {1: 1, 2: 2}},
        {"created": {1: 1, 2: 1, 3: 1}},
        {"deleted": {}},
        {"deleted": {2: 2}},
        {"deleted": {1: 1, 2: 1}},
        {"revisions": [1, 3], "revision": 3},
        {"revisions": [1, 3, 2]},
        {"revision": 4},
        {"problems": ["row 7 missing from index ix_audit_at"]},
    ],
)
def test_an_audit_log_that_does_not_fit_is_found(
    oracle: Oracle, stored: StoredState, change: dict[str, object]
) -> None:
    """I4: a missing, doubled or orphaned audit row, a gap, and a damaged file are reported."""
    assert oracle.compare_with_store(replace(stored, **change))  # type: ignore[arg-type]


def test_a_revoke_without_an_answer_may_have_happened_or_not(stored: StoredState) -> None:
    """An unacknowledged change may be there or not, but not half."""
    for is_revoked in (False, True):
        oracle = Oracle()
        for number, name in ((1, "a"), (2, "b")):
            oracle.create_acked(oracle.create_begins(name), number, f"secret {name}", 10.0)
        key = oracle.revoke_begins(random.Random(0), 19.0)
        assert key is not None
        oracle.found(key, 401 if is_revoked else 200, 40.0)
        assert key.fate is (Fate.DEAD if is_revoked else Fate.LIVE)
        assert key.key_id is not None
        whole = replace(
            stored,
            keys={
                number: StoredKey(number, name, is_revoked=is_revoked and number == key.key_id)
                for number, name in ((1, "a"), (2, "b"))
            },
            deleted={key.key_id: 1} if is_revoked else {},
        )
        assert oracle.compare_with_store(whole) == []
        half = replace(whole, deleted={} if is_revoked else {key.key_id: 1})
        assert oracle.compare_with_store(half)


def test_dead_and_living_credentials_are_tried(oracle: Oracle) -> None:
    """The verifiers try both sides, so that neither kind of break can hide."""
    choice = random.Random(1)
    fates = {probe.fate for _ in range(50) if (probe := oracle.pick(choice)) is not None}
    assert fates == {Fate.LIVE, Fate.DEAD}


def test_no_secret_is_in_a_report(oracle: Oracle) -> None:
    """What the checker prints names keys, and holds no secret."""
    oracle.found(oracle.keys[0], 401, 40.0)
    assert "secret" not in oracle.lost[0]


def _probe(key: TrackedKey) -> Probe:
    assert key.secret is not None
    return Probe(key, key.secret, key.fate)


class _First(random.Random):
    def randrange(self, *_: object) -> int:  # type: ignore[override]
        return 0


def _first_of_all() -> random.Random:
    return _First()
