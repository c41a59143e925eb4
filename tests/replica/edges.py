"""What the tests of the remote verifier share: who may follow, credentials, and waiting for a change."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from keyturn import CredentialRefused, KeyturnError, Principal, Verifier
from keyturn.core.permissions import Permission
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD
from tests.people import HERE, add_person, person

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.composition import Services
    from keyturn.services.keys.keys import CreatedKey
    from tests.servers import RunningServer

PATIENCE_SECONDS = 10.0


class Verifies(Protocol):
    """A verifier, or what stands for one with time-outs of a test's own."""

    def verify(self, credential: str, /) -> Principal: ...


@dataclass
class Edge:
    """A server, and the key with which its feed is followed."""

    server: RunningServer
    follower: CreatedKey
    bob: Principal

    @classmethod
    def of(cls, server: RunningServer) -> Edge:
        add_person(server.services)
        return cls(server, new_follower(server.services), person(server.services))

    @property
    def services(self) -> Services:
        return self.server.services

    def verifier(self, **options: object) -> Verifier:
        return Verifier(self.server.url, self.follower.secret, **options)  # type: ignore[arg-type]

    def key(self) -> CreatedKey:
        return self.services.keys.create(self.bob, HERE, NewKey())

    def token(self, key: CreatedKey) -> str:
        return self.services.exchange.exchange(in_header=[], in_body=key.secret, origin=HERE).token

    def login(self) -> str:
        return self.services.logins.log_in_api("bim", "bob", PASSWORD, HERE).token

    def revoke(self, key: CreatedKey) -> None:
        self.services.keys.revoke_own(self.bob, key.record.key_id, HERE)


def new_follower(services: Services) -> CreatedKey:
    """Return a key of somebody who holds the permission to follow, and no other that is given."""
    owner = services.users.add(
        COMMAND_LINE,
        userid="edge",
        name=None,
        password=None,
        permissions=frozenset({Permission.VERIFY_CREDENTIALS}),
    )
    return services.keys.create_for(owner.user_id, COMMAND_LINE, NewKey("edge"))


def answer_of(verifier: Verifies, credential: str, **options: object) -> object:
    """Return the principal, or what refused it, in a form that compares."""
    try:
        return verifier.verify(credential, **options)  # type: ignore[arg-type]
    except CredentialRefused as refused:
        return refused.reason, refused.key_id, refused.secret_matched
    except KeyturnError as error:
        return type(error)


def wait_until(is_so: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Return once it is so; fail if it takes unreasonably long."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def accepts(verifier: Verifies, credential: str) -> bool:
    return isinstance(answer_of(verifier, credential), Principal)
