"""Invitations: a link that sets a password once, for whoever was invited, and for nobody else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keyturn.composition import Services
from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.errors import InvalidInput, NotFound, PermissionMissing
from keyturn.services.people.identity.invitations import LIFE, VOID
from tests.conftest import PASSWORD
from tests.fakes import Clock
from tests.people import (
    HERE,
    NEW_PASSWORD,
    actions,
    add_person,
    add_service_account,
    holder,
    last_rows,
    log_in,
    set_password,
    signed_in,
)
from tests.store.crowds import all_at_once

MILLISECOND = timedelta(milliseconds=1)


def invite(services: Services, admin: Principal, userid: str = "bob") -> str:
    """Invite somebody; return the code of the link."""
    link = services.user_administration.invite(admin, "bim", userid, HERE).link
    place, _, code = link.partition("#")
    assert place == f"{services.settings.public_url}/invitation", "no server logs what stands behind the #"
    return code


def accept(services: Services, code: str, password: str = NEW_PASSWORD) -> str:
    return services.invitations.accept(code, password, HERE)


def check_void(services: Services, code: str) -> None:
    """Check that a link opens nothing and says nothing of why."""
    before = actions(services)
    with pytest.raises(InvalidInput) as refused:
        accept(services, code, "nine other words for it")
    assert (refused.value.field, refused.value.code) == ("code", "void")
    assert str(refused.value) == VOID
    assert actions(services) == before


def test_whoever_has_no_password_is_invited(services: Services, admin: Principal) -> None:
    """A user made without a password sets one with the link of the answer, and signs in with it."""
    added = services.user_administration.add(
        admin, HERE, userid="bob", profile={}, password=None, permissions=()
    )
    assert added.invitation is not None
    assert "#" not in repr(added), "a secret has no repr"
    assert not added.record.has_password

    assert accept(services, added.invitation.link.partition("#")[2]) == "bob"

    log_in(services, "bob", NEW_PASSWORD)
    assert services.user_administration.get(admin, "bim", "bob").has_password


def test_a_link_ends_the_sessions_of_before(services: Services, admin: Principal, bob: Principal) -> None:
    """A new password by a link ends every session of the person, as any other new one does (L5)."""
    cookie = log_in(services)
    assert signed_in(services, cookie)
    before = len(actions(services))
    code = invite(services, admin)

    accept(services, code)

    assert services.sessions.find(cookie) is None
    log_in(services, "bob", NEW_PASSWORD)
    invited, changed, _ = last_rows(services, before)
    assert (invited.action, invited.actor_userid, invited.target_id) == (
        "UserInvited",
        "ada",
        str(bob.user_id),
    )
    assert (changed.action, changed.actor_userid, changed.target_id) == (
        "UserPasswordUpdated",
        "anonymous",
        str(bob.user_id),
    )


def test_a_link_is_used_once_among_many(services: Services, admin: Principal) -> None:
    """Of twenty who use one link at once exactly one sets the password; all others are refused (R10)."""
    for round_ in range(4):
        add_person(services, f"bob {round_}", password=None)
        code = invite(services, admin, f"bob {round_}")

        outcomes = all_at_once(
            20,
            lambda number, code=code: accept(services, code, f"{number} quiet harbours at dusk"),  # type: ignore[misc]
        )

        (winner,) = (number for number, outcome in enumerate(outcomes) if outcome == f"bob {round_}")
        assert all(
            isinstance(outcome, InvalidInput) for outcome in outcomes[:winner] + outcomes[winner + 1 :]
        )
        log_in(services, f"bob {round_}", f"{winner} quiet harbours at dusk")
        check_void(services, code)


def test_a_link_ends_at_its_instant(services: Services, admin: Principal, clock: Clock) -> None:
    """A link works until a millisecond before its end, and is void at exactly its end."""
    for userid in ("one", "two"):
        add_person(services, userid, password=None)
    one, two = invite(services, admin, "one"), invite(services, admin, "two")
    clock.advance(LIFE - MILLISECOND)
    accept(services, one)
    clock.advance(MILLISECOND)
    check_void(services, two)


def test_a_newer_link_voids_the_older(services: Services, admin: Principal, bob: Principal) -> None:
    """Of two links for one person the later one works, and the earlier is void."""
    first, second = invite(services, admin), invite(services, admin)
    check_void(services, first)
    assert accept(services, second) == "bob"


@pytest.mark.parametrize("how", ["by an administrator", "by themselves"])
def test_a_new_password_voids_the_link(
    services: Services, admin: Principal, bob: Principal, how: str
) -> None:
    """When the password changed after the link was made, the link no longer sets one."""
    code = invite(services, admin)
    if how == "by themselves":
        services.users.change_password(
            signed_in(services, log_in(services)), old=PASSWORD, new=NEW_PASSWORD, origin=HERE
        )
    else:
        set_password(services, "bob", NEW_PASSWORD)
    check_void(services, code)
    log_in(services, "bob", NEW_PASSWORD)


def test_a_disabled_or_deleted_person_accepts_nothing(
    services: Services, admin: Principal, bob: Principal
) -> None:
    """The link of somebody who is disabled sets nothing while they are, and that of the deleted never."""
    code = invite(services, admin)
    services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=True)
    check_void(services, code)
    services.offboarding.delete(admin, "bim", "bob", HERE)
    check_void(services, code)
    add_person(services)
    check_void(services, code)


def test_no_other_text_is_a_link(services: Services, admin: Principal, bob: Principal) -> None:
    """What was never given out opens nothing."""
    code = invite(services, admin)
    for text in ("", " ", "\x00", "\ud800", "None", "A" * 43, "x" * 100_000, code[:-1], f"{code}A"):
        check_void(services, text)


def test_a_weak_password_leaves_the_link(services: Services, admin: Principal, bob: Principal) -> None:
    """A password that breaks a rule is refused, and the person may try another with the same link (L1)."""
    code = invite(services, admin)
    for weak in ("short", "bob"):
        with pytest.raises(InvalidInput) as refused:
            accept(services, code, weak)
        assert refused.value.field == "password"
    assert accept(services, code) == "bob"


def test_two_invitations_at_once_leave_one_link(services: Services, admin: Principal, bob: Principal) -> None:
    """However many invite one person at once, each gets a link, and exactly one of the links works."""
    codes = all_at_once(12, lambda _number: invite(services, admin))

    assert all(isinstance(code, str) for code in codes)
    accepted = 0
    for code in codes:
        try:
            accept(services, str(code))
        except InvalidInput:
            continue
        accepted += 1
    assert accepted == 1


def test_only_persons_are_invited_and_by_nobody_narrower(services: Services, admin: Principal) -> None:
    """A program is not invited, nor anybody by one who holds less than they do (A3)."""
    owner = add_person(services)
    add_service_account(services, admin, ServiceOwner(owner.user_id))
    with pytest.raises(InvalidInput):
        services.user_administration.invite(admin, "bim", "robot", HERE)
    narrow = holder(services, "narrow", Permission.USER_ADMIN)
    with pytest.raises(PermissionMissing):
        services.user_administration.invite(narrow, "bim", "ada", HERE)
    services.user_administration.invite(narrow, "bim", "bob", HERE)
    with pytest.raises(NotFound):
        services.user_administration.invite(narrow, "bim", "nobody", HERE)
