"""What a credential covers where, against a direct model of the rules, for any APIs, groups and keys."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from keyturn.composition import open_services
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.errors import InvalidInput, OAuthRefused, Reason
from keyturn.services.apis.fields import ScopeToRegister
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.verifying.origin import COMMAND_LINE
from tests.apis import (
    NOTHING_THERE,
    UNREGISTERED,
    covered,
    identifier_of,
    leave,
    new_group,
    say_anew,
    token_for,
)
from tests.databases import new_sqlite_database
from tests.fakes import Clock
from tests.people import HERE, add_person, holder, new_key

PEOPLE = ("alice", "bob")
GROUPS = ("writers", "readers")
APIS = ("orders", "stock")
SCOPES = {name: (f"{name}:read", f"{name}:write") for name in APIS}
EVERY_SCOPE = tuple(scope for scopes in SCOPES.values() for scope in scopes)
EVERYONE = None

some_holders = st.one_of(st.just(EVERYONE), st.frozensets(st.sampled_from(GROUPS)))
some_api = st.dictionaries(st.sampled_from((0, 1)), some_holders, min_size=1)
"""Which of its scopes an API has, and who may hold each."""


@dataclass
class Credential:
    """What the model knows of a key, or of a token that was made from one."""

    owner: str
    text: str = field(repr=False)
    scopes: frozenset[str] | None
    audience: str | None = None
    """The API that a token is for; None for the installation."""
    key: Credential | None = None
    """The key that a token stands on."""


class Model(RuleBasedStateMachine):
    """Two people, two groups and two APIs, which come and go, with keys and tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="keyturn-model-"))
        chosen = read_settings({"KEYTURN_DATABASE": new_sqlite_database(self.folder)})
        self.services = open_services(chosen, Clock().system(), hashing=CHEAPEST)
        self.apis: dict[str, dict[str, frozenset[str] | None]] = {}
        self.retired: set[str] = set()
        """Scopes that an API had: nobody may hold them until they are registered again."""
        self.members: dict[str, set[str]] = {name: set() for name in GROUPS}
        self.groups: dict[str, int] = {}
        self.user_ids: dict[str, int] = {}
        self.known: list[Credential] = []
        self.admin: Principal

    def teardown(self) -> None:
        self.services.close()
        shutil.rmtree(self.folder)

    @initialize()
    def begin(self) -> None:
        self.admin = holder(self.services, "ada", *Permission)
        for userid in PEOPLE:
            self.user_ids[userid] = add_person(self.services, userid).user_id
        for name in GROUPS:
            self.groups[name] = new_group(self.services, self.admin, name)

    # The rules, written down anew

    def withheld(self, owner: str) -> frozenset[str]:
        mine = {name for name in GROUPS if owner in self.members[name]}
        return frozenset(self.retired) | frozenset(
            scope
            for scopes in self.apis.values()
            for scope, holders in scopes.items()
            if holders is not EVERYONE and not holders & mine
        )

    def expected(self, credential: Credential, name: str | None) -> frozenset[str] | str | None:
        if credential.key is not None and credential.audience != name:
            return Reason.AUDIENCE.value
        if name is not None and name not in self.apis:
            return UNREGISTERED
        said = [one.scopes for one in (credential, credential.key) if one is not None]
        narrowed = [scopes for scopes in said if scopes is not None]
        if name is None and not narrowed:
            return None
        # What both say: nothing of it may be left, which is a refusal of its own.
        covers = frozenset.intersection(*narrowed) if narrowed else frozenset(self.apis[name or ""])
        if not covers:
            return Reason.CLAIMS.value
        if name is not None:
            covers &= frozenset(self.apis[name])
        covers -= self.withheld(credential.owner)
        return covers or (Reason.WITHHELD.value if name is None else NOTHING_THERE)

    # What happens

    def scopes_to_register(self, name: str, api: dict[int, frozenset[str] | None]) -> list[ScopeToRegister]:
        self.retired |= set(self.apis.get(name, ()))
        self.apis[name] = {SCOPES[name][number]: holders for number, holders in api.items()}
        self.retired -= set(self.apis[name])
        return [
            ScopeToRegister(
                scope, None, None if holders is EVERYONE else [self.groups[one] for one in holders]
            )
            for scope, holders in self.apis[name].items()
        ]

    @rule(name=st.sampled_from(APIS), api=some_api)
    def register_or_say_anew(self, name: str, api: dict[int, frozenset[str] | None]) -> None:
        there = [one for one in self.services.apis.list_all() if one.name == name]
        scopes = self.scopes_to_register(name, api)
        if there:
            say_anew(self.services, self.admin, there[0], scopes)
        else:
            self.services.apis.add(
                self.admin, HERE, name=name, identifier=identifier_of(name), description=None, scopes=scopes
            )

    @rule(name=st.sampled_from(APIS))
    def delete(self, name: str) -> None:
        for one in self.services.apis.list_all():
            if one.name == name:
                self.services.apis.delete(self.admin, one.resource_id, HERE)
        self.retired |= set(self.apis.pop(name, ()))

    @rule(userid=st.sampled_from(PEOPLE), name=st.sampled_from(GROUPS))
    def come_or_go(self, userid: str, name: str) -> None:
        if userid in self.members[name]:
            leave(self.services, self.admin, self.groups[name], self.user_ids[userid])
        else:
            self.services.groups.add_member(self.admin, self.groups[name], HERE, iamid="bim", userid=userid)
        self.members[name] ^= {userid}

    @rule(owner=st.sampled_from(PEOPLE))
    def make_a_key(self, owner: str) -> None:
        self.make_a_whole_key(owner)

    @rule(owner=st.sampled_from(PEOPLE), wanted=st.frozensets(st.sampled_from(EVERY_SCOPE), min_size=1))
    def make_a_narrow_key(self, owner: str, wanted: frozenset[str]) -> None:
        registered = frozenset(scope for scopes in self.apis.values() for scope in scopes)
        may = wanted <= registered - self.withheld(owner)
        who = self.services.authenticator.identify(self.whole_key_of(owner).encode()).principal
        try:
            made = new_key(self.services, who, scopes=sorted(wanted))
        except InvalidInput:
            assert not may
            return
        assert may
        self.know(Credential(owner, made.secret, wanted))

    def whole_key_of(self, owner: str) -> str:
        for one in self.known:
            if (one.owner, one.scopes, one.key) == (owner, None, None):
                return one.text
        return self.make_a_whole_key(owner)

    def make_a_whole_key(self, owner: str) -> str:
        made = self.services.keys.create_for(self.user_ids[owner], COMMAND_LINE, NewKey())
        return self.know(Credential(owner, made.secret, None)).text

    @rule(
        position=st.integers(0, 1000),
        name=st.sampled_from((None, *APIS)),
        wanted=st.frozensets(st.sampled_from(EVERY_SCOPE), max_size=2),
    )
    def exchange(self, position: int, name: str | None, wanted: frozenset[str]) -> None:
        if not self.known:
            return
        subject = self.known[position % len(self.known)]
        expected = self.granted(subject, name, wanted)
        try:
            token = token_for(self.services, subject.text, name, *sorted(wanted))
        except OAuthRefused:
            assert expected is False
            return
        assert expected is not False
        self.know(Credential(subject.owner, token, expected, name, subject.key or subject))

    def granted(
        self, subject: Credential, name: str | None, wanted: frozenset[str]
    ) -> frozenset[str] | bool | None:
        """Return what a token says that it covers, None for all; False if none is given."""
        if subject.key is not None and subject.audience not in {None, name}:
            return False
        at = self.expected(subject, subject.audience)
        if isinstance(at, str):
            return False
        if name is not None and name not in self.apis:
            return False
        held = at
        if name is not None:
            of_name = frozenset(self.apis[name])
            held = (of_name if at is None else at & of_name) - self.withheld(subject.owner)
            if not held:
                return False
        if wanted & self.withheld(subject.owner) or (held is not None and not wanted <= held):
            return False
        return wanted or held

    def know(self, credential: Credential) -> Credential:
        self.known.append(credential)
        return credential

    @invariant()
    def each_covers_what_the_rules_say(self) -> None:
        for credential in self.known[-12:]:
            for name in (None, *APIS):
                found = covered(self.services, credential.text, name)
                assert found == self.expected(credential, name), (credential, name)

    @invariant()
    def each_may_choose_what_is_not_withheld(self) -> None:
        registered = {scope for scopes in self.apis.values() for scope in scopes}
        for userid, user_id in self.user_ids.items():
            offered = self.services.apis.list_grantable(user_id)
            names = {scope.name for one in offered for scope in one.scopes}
            assert names == registered - self.withheld(userid)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=25, stateful_step_count=30)
TestModel.__doc__ = (
    "After any steps, each key and token covers at each API exactly what the rules say (A3, R3)."
)
