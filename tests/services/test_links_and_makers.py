"""What is made by one request and used by a later one dies with whoever made it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.core.audit import AuditAction
from keyturn.core.lifetimes import Lifetime
from keyturn.core.permissions import Permission
from keyturn.errors import InvalidInput, OAuthRefused
from keyturn.store.database.schema import metadata
from keyturn.verifying.origin import COMMAND_LINE
from tests.people import (
    HERE,
    NEW_PASSWORD,
    add_holder,
    add_person,
    caller,
    log_in,
    new_key,
    person,
    set_password,
)
from tests.store.crowds import at_the_commit_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.composition import Services
    from keyturn.core.principal import Principal
    from keyturn.services.keys.keys import CreatedKey

HOUR = timedelta(hours=1)

USED_LATER = {"invitation", "device_login"}
"""The tables of what one request makes and a later one uses, whoever sends that."""
JUDGED_BY_THEMSELVES = {"api_key", "session", "revoked_token"}
"""Credentials, and what ends them."""


def test_everything_that_waits_is_tried_here() -> None:
    """A table whose rows end at a time is one of credentials, or its rows are tried below."""
    ending = {table.name for table in metadata.sorted_tables if "expires_at" in table.c}
    assert ending == USED_LATER | JUDGED_BY_THEMSELVES


class Maker:
    """Eve, who may administer users, and a key of hers."""

    def __init__(self, services: Services, admin: Principal) -> None:
        self.services, self.admin = services, admin
        add_holder(services, "eve", Permission.USER_ADMIN, Permission.AUDIT)
        self.cookie = log_in(services, "eve")
        found = services.sessions.find(self.cookie)
        assert found is not None
        self.session = found
        self.key: CreatedKey = new_key(services, found.principal)
        add_person(services, "newcomer", None)
        add_person(services, "colleague")

    def token(self) -> str:
        return self.services.exchange.exchange(
            in_header=[self.key.secret.encode()], in_body=None, origin=HERE
        ).token

    def calling(self, by: str) -> Principal:
        return {
            "session": lambda: self.session.principal,
            "key": lambda: caller(self.services, self.key.secret),
            "token": lambda: caller(self.services, self.token()),
        }[by]()

    def rotate(self, overlap: timedelta) -> None:
        self.services.key_rotation.rotate_own(
            person(self.services, "eve"), self.key.record.key_id, HERE, overlap=overlap
        )

    def disable(self, *, disabled: bool = True) -> None:
        self.services.offboarding.set_disabled(self.admin, "bim", "eve", HERE, disabled=disabled)

    def disable_and_enable(self) -> None:
        self.disable()
        self.disable(disabled=False)

    def permit(self, *permissions: Permission) -> None:
        self.services.user_administration.set_permissions(self.admin, "bim", "eve", permissions, HERE)


def link_to(userid: str) -> Callable[[Maker, str], Callable[[], object]]:
    def make(maker: Maker, by: str) -> Callable[[], object]:
        services = maker.services
        link = services.user_administration.invite(maker.calling(by), "bim", userid, HERE).link
        code = link.partition("#")[2]
        return lambda: services.invitations.accept(code, NEW_PASSWORD, HERE)

    return make


def approval(maker: Maker, by: str) -> Callable[[], object]:
    assert by == "session", "a person approves in a browser"
    services = maker.services
    begun = services.devices.begin({"client_id": "laptop"}, HERE)
    services.devices.approve(maker.session, begun.user_code, Lifetime(None), HERE)
    return lambda: services.devices.take({"client_id": "laptop", "device_code": begun.device_code}, HERE)


def log_out(maker: Maker) -> None:
    number = maker.session.principal.credential.session_id
    assert number is not None
    maker.services.sessions.end_own(maker.session.principal, number, HERE, action=AuditAction.USER_LOGGED_OUT)


LINKS = {"link to who is new": link_to("newcomer"), "link to who is there": link_to("colleague")}
ENDS: dict[str, tuple[tuple[str, ...], Callable[[Maker], object]]] = {
    "disabled": (("session", "key", "token"), Maker.disable),
    "disabled and enabled": (("session", "key", "token"), Maker.disable_and_enable),
    "deleted": (
        ("session", "key", "token"),
        lambda m: m.services.offboarding.delete(m.admin, "bim", "eve", HERE),
    ),
    "signed out everywhere": (
        ("session", "key", "token"),
        lambda m: m.services.users.sign_out(COMMAND_LINE, "eve"),
    ),
    "another password": (("session",), lambda m: set_password(m.services, "eve", NEW_PASSWORD)),
    "key revoked": (
        ("key", "token"),
        lambda m: m.services.keys.revoke_any(m.key.record.key_id, COMMAND_LINE),
    ),
    "key rotated without overlap": (("key", "token"), lambda m: m.rotate(timedelta(0))),
}
"""What ends whoever made something in which way."""
LESS: dict[str, Callable[[Maker], object]] = {
    "without USER_ADMIN": lambda m: m.permit(Permission.AUDIT),
    "without what the account has": lambda m: m.permit(Permission.USER_ADMIN),
}
GO_ON: dict[str, tuple[tuple[str, ...], Callable[[Maker], object]]] = {
    "nothing": (("session", "key", "token"), lambda _: None),
    "logout": (("session",), log_out),
    "overlap": (("key", "token"), lambda m: m.rotate(HOUR)),
    "password of a key's owner": (
        ("key", "token"),
        lambda m: set_password(m.services, "eve", NEW_PASSWORD),
    ),
}
"""What ends no link."""

BOTH = ("session", "key")
CASES = [
    *(("link to who is there", by, end, act) for end, (bys, act) in ENDS.items() for by in bys),
    *(("link to who is there", by, end, act) for end, act in LESS.items() for by in BOTH),
    *(("link to who is new", bys[0], end, act) for end, (bys, act) in ENDS.items()),
    *(("approval", "session", end, act) for end, (bys, act) in ENDS.items() if "session" in bys),
]
MAKES = {**LINKS, "approval": approval}


@pytest.fixture
def maker(services: Services, admin: Principal) -> Maker:
    made = Maker(services, admin)
    services.user_administration.set_permissions(admin, "bim", "colleague", [Permission.AUDIT], HERE)
    return made


@pytest.mark.parametrize(
    ("made", "by", "act"),
    [pytest.param(made, by, act, id=f"{made}, {by}, {end}") for made, by, end, act in CASES],
)
def test_what_waits_dies_with_its_maker(
    maker: Maker, made: str, by: str, act: Callable[[Maker], object]
) -> None:
    """A link to set a password, and an approved device, open nothing once their maker was ended."""
    use = MAKES[made](maker, by)
    act(maker)
    with pytest.raises((InvalidInput, OAuthRefused)):
        use()


@pytest.mark.parametrize(
    ("by", "act"),
    [pytest.param(by, act, id=f"{by}, {what}") for what, (bys, act) in GO_ON.items() for by in bys],
)
def test_a_link_goes_on_otherwise(maker: Maker, by: str, act: Callable[[Maker], object]) -> None:
    """A logout, and a rotation with an overlap, end no link, nor the password of whoever owns the key."""
    use = link_to("colleague")(maker, by)
    act(maker)
    assert use() == "colleague"


def test_a_link_that_is_accepted_while_its_maker_is_ended_is_void(maker: Maker) -> None:
    """Of an end and an acceptance at once, the one that is committed first decides."""
    use = link_to("newcomer")(maker, "key")
    outcome = at_the_commit_of(
        maker.services.store,
        lambda: maker.services.keys.revoke_any(maker.key.record.key_id, COMMAND_LINE),
        use,
    )
    assert isinstance(outcome, InvalidInput)
