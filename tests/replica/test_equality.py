"""The copy and the database say the same of every credential, whatever happened."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn import KeyturnError, Principal, Verifier
from keyturn.core.lifetimes import Lifetime
from keyturn.core.paths import RequestTarget
from keyturn.core.permissions import Permission
from keyturn.services.apis.fields import ScopeToRegister
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE, actor_of
from tests.people import HERE, add_person, change_behind, holder, person, restricted
from tests.replica.edges import PATIENCE_SECONDS, answer_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.core.apis import ApiRecord
    from keyturn.services.keys.keys import CreatedKey
    from tests.replica.edges import Edge

STEPS = 300
COMPARED_EVERY = 10
API = "https://orders.example"
SEEDS = ("one", "two")
METHOD, PATH = "POST", "/orders/1"
ASKS = replace(HERE, target=RequestTarget(METHOD, (PATH,)))


class World:
    """Changes anything at random, and keeps every credential that there ever was."""

    def __init__(self, edge: Edge, seed: str) -> None:
        self._edge, self._services = edge, edge.services
        self._choice = random.Random(seed)
        self._people = ["bob"]
        self._keys: list[tuple[str, CreatedKey]] = []
        self._group_id = 0
        self._resource: ApiRecord | None = None
        self.credentials: list[str] = []
        self.done: Counter[str] = Counter()
        self._admin = holder(
            edge.services, "admin", Permission.USER_ADMIN, Permission.APPLICATION_ADMIN, Permission.AUDIT
        )
        self._group_id = edge.services.groups.add(self._admin, HERE, iamid="bim", name="readers").group_id

    def step(self) -> None:
        """Do one thing, or fail at it: what is refused changes nothing."""
        often = (self._make_key, self._exchange, self._make_key, self._exchange, self._enable, self._revoke)
        moves = [
            *often * 3, self._rotate, self._log_in, self._sign_out, self._disable, self._permit, self._join,
            self._leave, self._register, self._unregister, self._delete_person, self._add_person,
            self._rotate_signing, self._retire_signing, self._end_token, self._narrow, self._novelty,
            self._regroup, self._bind, self._restrict, *[self._impersonate] * 4,
        ]  # fmt: skip
        move = self._choice.choice(moves)
        try:
            move()
        except (KeyturnError, IndexError):  # Refused, or there is nothing to choose from.
            return
        self.done[move.__name__] += 1

    def _someone(self) -> str:
        return self._choice.choice(self._people)

    def _caller(self) -> Principal:
        return person(self._services, self._someone())

    def _key(self) -> tuple[str, CreatedKey]:
        return self._choice.choice(self._keys)

    def _make_key(self) -> None:
        caller = self._caller()
        lives = timedelta(milliseconds=self._choice.choice([40, *[10**8] * 5]))
        lifetime = Lifetime(self._services.system.now() + lives)
        key = self._services.keys.create(caller, HERE, NewKey(None, lifetime))
        self._keys.append((caller.userid, key))
        self.credentials.append(key.secret)

    def _exchange(self) -> None:
        _, key = self._key()
        self.credentials.append(self._edge.token(key))

    def _impersonate(self) -> None:
        _, key = self._key()
        token = self._services.impersonation.impersonate(key.secret, "bim", self._someone(), HERE)
        self.credentials.append(token.token)

    def _revoke(self) -> None:
        owner, key = self._key()
        self._services.keys.revoke_own(person(self._services, owner), key.record.key_id, HERE)

    def _rotate(self) -> None:
        owner, key = self._key()
        rotated = self._services.key_rotation.rotate_own(
            person(self._services, owner), key.record.key_id, HERE,
            overlap=timedelta(seconds=self._choice.choice([0, 0, 3600])),
        )  # fmt: skip
        self._keys.append((owner, rotated))
        self.credentials.append(rotated.secret)

    def _log_in(self) -> None:
        self.credentials.append(self._edge.login())

    def _sign_out(self) -> None:
        self._services.users.sign_out(COMMAND_LINE, self._someone())

    def _disable(self) -> None:
        self._services.offboarding.set_disabled(self._admin, "bim", self._someone(), HERE, disabled=True)

    def _enable(self) -> None:
        for userid in self._people:
            self._services.offboarding.set_disabled(self._admin, "bim", userid, HERE, disabled=False)

    def _permit(self) -> None:
        some = self._choice.sample(
            [Permission.AUDIT, Permission.USER_ADMIN, *[Permission.IMPERSONATE_USER] * 3], 2
        )
        self._services.user_administration.set_permissions(self._admin, "bim", self._someone(), some, HERE)

    def _join(self) -> None:
        self._services.groups.add_member(
            self._admin, self._group_id, HERE, iamid="bim", userid=self._someone()
        )

    def _leave(self) -> None:
        members = self._services.groups.list_members(self._admin, self._group_id)
        self._services.groups.remove_member(
            self._admin, self._group_id, self._choice.choice(members).membership_id, HERE
        )

    def _regroup(self) -> None:
        self._services.groups.delete(self._admin, self._group_id, HERE)
        self._group_id = self._services.groups.add(self._admin, HERE, iamid="bim", name="readers").group_id

    def _register(self) -> None:
        scopes = [
            ScopeToRegister("orders:read"),
            ScopeToRegister("orders:write", group_ids=[self._group_id]),
        ]
        self._resource = self._services.apis.add(
            self._admin, HERE, name="Orders", identifier=API, description=None, scopes=scopes
        )

    def _unregister(self) -> None:
        if self._resource is not None:
            resource, self._resource = self._resource, None
            self._services.apis.delete(self._admin, resource.resource_id, HERE)

    def _delete_person(self) -> None:
        userid = self._choice.choice(self._people[1:] or ["nobody"])
        self._services.offboarding.delete(self._admin, "bim", userid, HERE)
        self._people.remove(userid)

    def _add_person(self) -> None:
        userid = f"person{self._choice.randrange(10**6)}"
        add_person(self._services, userid)
        self._people.append(userid)

    def _rotate_signing(self) -> None:
        self._services.signing_keys.rotate(COMMAND_LINE, lead=timedelta(0))

    def _retire_signing(self) -> None:
        if self._choice.random() < 0.3:
            self._services.signing_keys.replace_at_once(COMMAND_LINE)

    def _end_token(self) -> None:
        tokens = [credential for credential in self.credentials if "." in credential]
        self._services.revocation.revoke(
            self._choice.choice(tokens or ["a.b.c"]), actor_of(self._admin, HERE)
        )

    def _narrow(self) -> None:
        _, key = self._key()
        narrow = 'UPDATE api_key SET scopes = \'["orders:write","x"]\' WHERE id = :id'
        change_behind(self._services, narrow, id=key.record.key_id)

    def _bind(self) -> None:
        _, key = self._key()
        bind = "UPDATE api_key SET jkt = :jkt WHERE id = :id"
        change_behind(self._services, bind, jkt="A" * 43, id=key.record.key_id)

    def _restrict(self) -> None:
        caller, chosen = self._caller(), {"allowMethods": ["GET"], "allowPaths": ["/orders", "/x%20y"]}
        for name in self._choice.sample([*chosen], 1):
            new = NewKey(restrictions=restricted(**{name: chosen[name]}))
            key = self._services.keys.create(caller, HERE, new)
            self._keys.append((caller.userid, key))
            self.credentials.append(key.secret)

    def _novelty(self) -> None:
        change_behind(self._services, "DELETE FROM api_key WHERE id = :id", id=self._key()[1].record.key_id)


def differences(
    edge: Edge, verifier: Verifier, credentials: list[str], audience: str | None
) -> Iterator[str]:
    authenticator = edge.services.authenticator
    if audience is not None:
        authenticator = authenticator.at(audience)
    for credential in credentials:
        try:
            expected: object = authenticator.authenticate([credential.encode()], ASKS)
        except KeyturnError as error:
            expected = error
        found = answer_of(verifier, credential, source=HERE.address, method=METHOD, path=PATH)
        if said(expected) != found:
            yield f"{credential[:12]}… is {said(expected)} there and {found} here"


def check_equal(edge: Edge, verifier: Verifier, world: World, audience: str | None = None) -> None:
    """Wait until both say the same: a change takes its milliseconds, and a key may end meanwhile."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while found := list(differences(edge, verifier, world.credentials, audience)):
        assert time.monotonic() < deadline, (found[:5], world.done)


def said(answer: object) -> object:
    if isinstance(answer, KeyturnError):
        reason = getattr(answer, "reason", None)
        if reason is None:
            return type(answer)
        return reason, getattr(answer, "key_id", None), getattr(answer, "secret_matched", None)
    return answer


@pytest.mark.parametrize("seed", SEEDS)
def test_both_say_the_same(edge: Edge, seed: str) -> None:
    """After any changes all credentials are answered alike: by who followed, and by who came at the end."""
    world = World(edge, seed)
    options = {"failures_per_minute": 10**6}
    with edge.verifier(**options) as follower:
        for number in range(1, STEPS + 1):
            world.step()
            if number % COMPARED_EVERY == 0:
                check_equal(edge, follower, world)
        assert len(world.credentials) > STEPS / 10, world.done
        assert len(world.done) > 15, world.done
        with edge.verifier(**options) as newcomer:
            check_equal(edge, newcomer, world)
        world._unregister()
        world._register()
        for verifier in (follower, edge.verifier(**options)):
            verifier._authenticator = verifier._verification.authenticator.at(API)
            verifier._recognise = verifier._authenticator.recognise
            check_equal(edge, verifier, world, API)
        verifier.close()
