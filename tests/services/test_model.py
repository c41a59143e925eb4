"""Everything together, against a model: nothing dead is ever accepted, everything alive is."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from keyturn.composition import Services, open_services
from keyturn.core.lifetimes import Lifetime
from keyturn.errors import CredentialRefused, NotFound
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD
from tests.databases import new_sqlite_database
from tests.fakes import Clock
from tests.people import HERE, NEW_PASSWORD, add_person, caller, set_password

PEOPLE = ("alice", "bob")


@dataclass
class Credential:
    """What the model knows of a key, a token or a session."""

    owner: str
    text: str
    kind: str
    ends_at: datetime | None
    key: Credential | None = None
    """The key that a token stands on."""
    number: int = 0
    is_over: bool = False


class Model(RuleBasedStateMachine):
    """People, their keys, tokens and sessions, and a clock, over an embedded database."""

    keys = Bundle("keys")
    logins = Bundle("logins")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="keyturn-model-"))
        self.database = new_sqlite_database(self.folder)
        self.clock = Clock()
        self.services = self.open()
        self.disabled: dict[str, bool] = {}
        self.passwords: dict[str, str] = {}
        self.credentials: list[Credential] = []

    def open(self) -> Services:
        chosen = read_settings({"KEYTURN_DATABASE": self.database})
        return open_services(chosen, self.clock.system(), hashing=CHEAPEST)

    def teardown(self) -> None:
        self.check_audit_log()
        self.services.close()
        shutil.rmtree(self.folder)

    @initialize()
    def add_people(self) -> None:
        for userid in PEOPLE:
            add_person(self.services, userid)
            self.disabled[userid] = False
            self.passwords[userid] = PASSWORD

    def is_alive(self, credential: Credential) -> bool:
        if credential.is_over or self.disabled[credential.owner]:
            return False
        if credential.ends_at is not None and credential.ends_at <= self.clock.now:
            return False
        return credential.key is None or self.is_alive(credential.key)

    def is_accepted(self, credential: Credential) -> bool:
        if credential.kind == "browser":
            return self.services.sessions.find(credential.text) is not None
        try:
            return caller(self.services, credential.text).userid == credential.owner
        except CredentialRefused:
            return False

    @rule(target=keys, owner=st.sampled_from(PEOPLE), minutes=st.sampled_from([None, 1, 30, 90, 3000]))
    def create_key(self, owner: str, minutes: int | None) -> Credential:
        ends_at = None if minutes is None else self.clock.now + timedelta(minutes=minutes)
        user = self.services.users.get_by_userid("bim", owner)
        made = self.services.keys.create_for(user.user_id, COMMAND_LINE, NewKey(None, Lifetime(ends_at)))
        key = Credential(owner, made.secret, "key", ends_at, number=made.record.key_id)
        self.credentials.append(key)
        return key

    @rule(key=keys)
    def exchange(self, key: Credential) -> None:
        try:
            issued = self.services.exchange.exchange(in_header=[], in_body=key.text, origin=HERE)
        except CredentialRefused:
            assert not self.is_alive(key)
            return
        assert self.is_alive(key)
        ends_at = self.clock.now + timedelta(hours=1)
        if key.ends_at is not None:
            ends_at = min(ends_at, key.ends_at)
        assert issued.expires_at == ends_at
        self.credentials.append(Credential(key.owner, issued.token, "token", ends_at, key))

    @rule(key=keys)
    def make_a_key_with_a_key(self, key: Credential) -> None:
        if not self.is_alive(key):
            return
        who = caller(self.services, key.text)
        made = self.services.keys.create(who, HERE, NewKey())
        ends_at = self.clock.now + timedelta(days=365)
        if key.ends_at is not None:
            ends_at = min(ends_at, key.ends_at)
        assert made.record.expires_at == ends_at
        self.credentials.append(Credential(key.owner, made.secret, "key", ends_at, number=made.record.key_id))

    @rule(key=keys)
    def revoke(self, key: Credential) -> None:
        try:
            self.services.keys.revoke_any(key.number, COMMAND_LINE)
        except NotFound:
            assert key.is_over
        else:
            assert not key.is_over
        key.is_over = True

    @rule(target=logins, owner=st.sampled_from(PEOPLE), kind=st.sampled_from(["browser", "login"]))
    def log_in(self, owner: str, kind: str) -> Credential:
        signing_in, password = self.services.logins, self.passwords[owner]
        credential = Credential(owner, "", kind, None)
        try:
            if kind == "browser":
                credential.text = signing_in.log_in_browser(owner, password, HERE).cookie
                # Every session is used after every step here, so that only a long step makes it idle.
                credential.ends_at = self.clock.now + timedelta(hours=12)
            else:
                credential.text = signing_in.log_in_api("bim", owner, password, HERE).token
                credential.ends_at = self.clock.now + timedelta(hours=1)
        except CredentialRefused:
            assert self.disabled[owner]
            credential.is_over = True
            return credential
        assert not self.disabled[owner]
        self.credentials.append(credential)
        return credential

    @rule(owner=st.sampled_from(PEOPLE))
    def disable(self, owner: str) -> None:
        assert (
            self.services.users.set_disabled(COMMAND_LINE, owner, disabled=True) is not self.disabled[owner]
        )
        self.disabled[owner] = True
        self.end_sessions(owner)

    @rule(owner=st.sampled_from(PEOPLE))
    def enable(self, owner: str) -> None:
        assert self.services.users.set_disabled(COMMAND_LINE, owner, disabled=False) is self.disabled[owner]
        self.disabled[owner] = False

    @rule(owner=st.sampled_from(PEOPLE))
    def set_password(self, owner: str) -> None:
        new = NEW_PASSWORD if self.passwords[owner] == PASSWORD else PASSWORD
        set_password(self.services, owner, new)
        self.passwords[owner] = new
        self.end_sessions(owner)

    def end_sessions(self, owner: str) -> None:
        for credential in self.credentials:
            if credential.owner == owner and credential.kind in {"browser", "login"}:
                credential.is_over = True

    @rule(minutes=st.sampled_from([1, 29, 30, 59, 60, 24 * 60]))
    def let_time_pass(self, minutes: int) -> None:
        self.clock.advance(timedelta(minutes=minutes))
        if minutes >= 30:
            for credential in self.credentials:
                credential.is_over |= credential.kind == "browser"

    @rule()
    def restart(self) -> None:
        self.services.close()
        self.services = self.open()

    @invariant()
    def exactly_the_living_are_accepted(self) -> None:
        for credential in self.credentials:
            assert self.is_accepted(credential) is self.is_alive(credential), credential.kind

    def check_audit_log(self) -> None:
        rows = self.services.store.audit_log.list_after(limit=10_000)
        assert [row.revision for row in rows] == list(range(1, len(rows) + 1))
        assert self.services.store.installation.revision() == len(rows)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=20, stateful_step_count=30)
TestModel.__doc__ = (
    "After any steps, exactly the credentials that should live are accepted (R1, R3, R7, T15)."
)
