"""Service accounts: programs whose owner controls them within their own rights, and that cannot sign in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from keyturn.composition import Services
from keyturn.core.lifetimes import Lifetime
from keyturn.core.people import ServiceOwner, UserKind
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import MAX_ID
from keyturn.core.searches import UserSearch
from keyturn.errors import (
    Conflict,
    CredentialRefused,
    InvalidInput,
    InvalidState,
    NotFound,
    PermissionMissing,
)
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD
from tests.fakes import Clock
from tests.people import (
    HERE,
    NEW_PASSWORD,
    actions,
    add_person,
    add_service_account,
    caller,
    holder,
    is_accepted,
    key_of_service,
    last_rows,
    log_in,
    new_key,
)

AUDIT, GOVERNANCE, USER_ADMIN = Permission.AUDIT, Permission.GOVERNANCE, Permission.USER_ADMIN


def test_a_service_account_has_an_owner_and_nothing_else(
    services: Services, admin: Principal, bob: Principal
) -> None:
    """It holds what was asked for, by default nothing at all, and its making is told as what it is (A3)."""
    before = len(actions(services))
    made = add_service_account(services, admin, ServiceOwner(bob.user_id))
    assert (made.kind, made.owner) == (UserKind.SERVICE, ServiceOwner(bob.user_id))
    assert (made.permissions, made.has_password) == (frozenset(), False)
    (row,) = last_rows(services, before)
    assert (row.action, row.target_id) == ("ServiceAccountCreated", str(made.user_id))
    assert row.details == {
        "userid": "robot",
        "permissions": [],
        "ownerUser": bob.user_id,
        "ownerGroup": None,
    }
    assert add_service_account(services, admin, ServiceOwner(bob.user_id), "second", [AUDIT]).permissions == {
        AUDIT
    }
    with pytest.raises(InvalidInput) as refused:
        add_service_account(services, admin, ServiceOwner(bob.user_id), "BOB")
    assert (refused.value.field, refused.value.code) == ("userid", "unique")


def test_a_service_account_cannot_sign_in(services: Services, admin: Principal, bob: Principal) -> None:
    """It has no password, gets none by any way, and no password opens it."""
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    user = services.user_administration.get(admin, "bim", "robot")
    for act in (
        lambda: services.users.set_password(COMMAND_LINE, user, PASSWORD),
        lambda: services.user_administration.set_password(
            admin, "bim", "robot", password=PASSWORD, current=None, origin=HERE
        ),
        lambda: services.user_administration.invite(admin, "bim", "robot", HERE),
    ):
        with pytest.raises(InvalidInput):
            act()
    for password in (PASSWORD, "", NEW_PASSWORD):
        with pytest.raises(CredentialRefused):
            log_in(services, "robot", password)


def test_only_user_admin_makes_one(services: Services, admin: Principal, bob: Principal) -> None:
    """Nobody else makes one, hands one over, or learns who could own one (A1)."""
    others = holder(services, "others", *(set(Permission) - {USER_ADMIN}))
    for who in (bob, others):
        for act in (
            lambda who: add_service_account(services, who, ServiceOwner(who.user_id)),
            lambda who: services.service_accounts.transfer(who, "robot", ServiceOwner(who.user_id), HERE),
            lambda who: services.service_accounts.find_owner(who, userid="bob"),
        ):
            with pytest.raises(PermissionMissing):
                act(who)


def test_an_owner_is_a_living_person_or_a_group(services: Services, admin: Principal, bob: Principal) -> None:
    """Exactly one owner is named, and they are there; a program or somebody disabled owns nothing."""
    group = services.groups.add(admin, HERE, iamid="bim", name="one").group_id
    assert services.service_accounts.find_owner(admin, userid="BOB") == ServiceOwner(bob.user_id)
    assert services.service_accounts.find_owner(admin, group_id=group) == ServiceOwner(group_id=group)
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=True)
    wrong: list[dict[str, object]] = [{}, {"userid": "ada", "group_id": group}]
    wrong += [{"userid": name} for name in ("bob", "robot", "nobody", "")]
    wrong += [{"group_id": number} for number in (0, -1, group + 1, MAX_ID + 1)]
    for named in wrong:
        with pytest.raises(InvalidInput) as refused:
            services.service_accounts.find_owner(admin, **named)  # type: ignore[arg-type]
        assert refused.value.field == "owner"
    for pair in ((None, None), (1, 1)):
        with pytest.raises(ValueError, match="one owner"):
            ServiceOwner(*pair)


def test_who_controls_it_is_a_table(services: Services, admin: Principal, bob: Principal) -> None:
    """The owner, each member of the owning group, and USER_ADMIN control a service account; nobody else."""
    group = services.groups.add(admin, HERE, iamid="bim", name="one").group_id
    people = {name: holder(services, name) for name in ("member", "stranger")}
    people |= {"bob": bob, "ada": admin, "governor": holder(services, "governor", GOVERNANCE, AUDIT)}
    services.groups.add_member(admin, group, HERE, iamid="bim", userid="member")
    add_service_account(services, admin, ServiceOwner(bob.user_id), "of bob")
    add_service_account(services, admin, ServiceOwner(group_id=group), "of the group")
    controlled = {
        "ada": ["of bob", "of the group"],
        "bob": ["of bob"],
        "member": ["of the group"],
        "stranger": [],
        "governor": [],
    }
    for name, who in people.items():
        listed = services.service_accounts.list_visible(who)
        assert [user.userid for user in listed.items] == controlled[name]
        assert listed.count == len(listed.items)
        for userid in ("of bob", "of the group"):
            acts = (
                services.service_accounts.get,
                services.service_accounts.list_keys,
                lambda who, userid: key_of_service(services, who, userid),
            )
            for act in acts:
                if userid in controlled[name]:
                    act(who, userid)
                    continue
                with pytest.raises(NotFound) as refused:
                    act(who, userid)
                assert str(refused.value) == "Not found."


def test_a_person_is_no_service_account(services: Services, admin: Principal, bob: Principal) -> None:
    """Through the service accounts no person is seen, gets a key, or gets another owner."""
    for userid in ("bob", "ada", str(bob.user_id), "nobody"):
        for act in (
            lambda userid: services.service_accounts.get(admin, userid),
            lambda userid: key_of_service(services, admin, userid),
            lambda userid: services.service_accounts.transfer(
                admin, userid, ServiceOwner(admin.user_id), HERE
            ),
        ):
            with pytest.raises(NotFound):
                act(userid)


def test_an_owner_makes_no_key_beyond_themselves(services: Services, admin: Principal) -> None:
    """A key of a service account that holds more than its owner is made by an administrator alone (A3)."""
    owner = holder(services, "owner", AUDIT)
    within = add_service_account(services, admin, ServiceOwner(owner.user_id), "within", [AUDIT])
    add_service_account(services, admin, ServiceOwner(owner.user_id), "beyond", [AUDIT, GOVERNANCE])

    key = key_of_service(services, owner, "within")
    assert caller(services, key.secret).permissions == {AUDIT}
    assert key.record.user_id == within.user_id
    with pytest.raises(PermissionMissing) as refused:
        key_of_service(services, owner, "beyond")
    assert refused.value.any_of == (GOVERNANCE,)
    assert services.service_accounts.list_keys(owner, "beyond").items == ()
    assert caller(services, key_of_service(services, admin, "beyond").secret).may(GOVERNANCE)


def test_a_key_ends_no_later_than_the_one_it_is_made_with(
    services: Services, admin: Principal, bob: Principal, clock: Clock
) -> None:
    """With a key that ends, the key of a service account ends with it at the latest (A3)."""
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    ends = clock.now + timedelta(days=1)
    who = caller(services, new_key(services, bob, lifetime=Lifetime(ends)).secret)
    made = services.service_accounts.create_key(who, "robot", HERE, NewKey())
    assert made.record.expires_at == ends
    narrowed = replace(who, scopes=frozenset({"plugin:trino"}))
    with pytest.raises(NotFound):
        key_of_service(services, narrowed)


def test_an_owner_stops_it_and_an_administrator_lets_it_go_on(
    services: Services, admin: Principal, bob: Principal
) -> None:
    """Its owner disables and deletes a service account; to enable it again is for administrators."""
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    key = key_of_service(services, bob)
    services.offboarding.set_disabled(bob, "bim", "robot", HERE, disabled=True)
    assert not is_accepted(services, key.secret)
    with pytest.raises(PermissionMissing):
        services.offboarding.set_disabled(bob, "bim", "robot", HERE, disabled=False)
    services.offboarding.set_disabled(admin, "bim", "robot", HERE, disabled=False)
    assert is_accepted(services, key.secret)
    services.offboarding.delete(bob, "bim", "robot", HERE)
    assert not is_accepted(services, key.secret)


def test_handing_over_changes_who_controls_it(services: Services, admin: Principal, bob: Principal) -> None:
    """From the moment of handing over the new owner controls it, and the old one does not; keys go on."""
    carol = holder(services, "carol")
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    key = key_of_service(services, bob)
    before = len(actions(services))
    for _ in range(2):
        services.service_accounts.transfer(admin, "robot", ServiceOwner(carol.user_id), HERE)
    (row,) = last_rows(services, before)
    assert row.action == "ServiceAccountHandedOver"
    assert row.details["ownerUser"] == carol.user_id

    assert is_accepted(services, key.secret)
    assert services.service_accounts.get(carol, "robot").owner == ServiceOwner(carol.user_id)
    with pytest.raises(NotFound):
        services.service_accounts.get(bob, "robot")
    services.offboarding.delete(admin, "bim", "bob", HERE)
    assert is_accepted(services, key.secret)


def test_handing_over_revives_what_stood_still_with_its_owner(
    services: Services, admin: Principal, bob: Principal
) -> None:
    """A service account that stopped because of its owner works again under another; by hand, it does not."""
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    key = key_of_service(services, bob)
    services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=True)
    services.service_accounts.transfer(admin, "robot", ServiceOwner(admin.user_id), HERE)
    assert is_accepted(services, key.secret)

    add_person(services, "carol")
    services.offboarding.set_disabled(admin, "bim", "robot", HERE, disabled=True)
    carol = services.service_accounts.find_owner(admin, userid="carol")
    services.service_accounts.transfer(admin, "robot", carol, HERE)
    assert not is_accepted(services, key.secret)


def enable_robot(services: Services, admin: Principal, _: ServiceOwner) -> None:
    services.offboarding.set_disabled(admin, "bim", "robot", HERE, disabled=False)


def leave_to(services: Services, admin: Principal, owner: ServiceOwner, *, for_ever: bool) -> None:
    carol = holder(services, "carol")
    add_service_account(services, admin, ServiceOwner(carol.user_id), userid="second")
    if for_ever:
        services.offboarding.delete(admin, "bim", "carol", HERE, successor=owner)
    else:
        services.offboarding.set_disabled(admin, "bim", "carol", HERE, disabled=True, successor=owner)


def hand_over_second(services: Services, admin: Principal, owner: ServiceOwner) -> None:
    add_service_account(services, admin, ServiceOwner(admin.user_id), userid="second")
    services.service_accounts.transfer(admin, "second", owner, HERE)


WAYS_TO_LIFE: dict[str, Callable[[Services, Principal, ServiceOwner], object]] = {
    "enable": enable_robot,
    "enable on the command line": lambda s, _a, _o: s.users.set_disabled(
        COMMAND_LINE, "robot", disabled=False
    ),
    "create": lambda s, admin, owner: add_service_account(s, admin, owner, userid="second"),
    "hand over": hand_over_second,
    "disable with a successor": lambda s, admin, owner: leave_to(s, admin, owner, for_ever=False),
    "delete with a successor": lambda s, admin, owner: leave_to(s, admin, owner, for_ever=True),
}


@pytest.mark.parametrize("way", WAYS_TO_LIFE)
@pytest.mark.parametrize("stopped", ["with its owner", "by itself"])
def test_nothing_of_a_disabled_owner_comes_to_life(
    services: Services, admin: Principal, bob: Principal, way: str, stopped: str
) -> None:
    """A service account of somebody who is disabled stands still until they are enabled."""
    owner = ServiceOwner(bob.user_id)
    add_service_account(services, admin, owner)
    key = key_of_service(services, bob)
    if stopped == "by itself":
        services.offboarding.set_disabled(admin, "bim", "robot", HERE, disabled=True)
    services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=True)

    with pytest.raises((Conflict, InvalidState), match="owner") as refused:
        WAYS_TO_LIFE[way](services, admin, owner)

    if "enable" in way:
        assert str(refused.value).endswith("bob, is disabled: enable the owner, or hand it over.")
    owned = services.store.users.search(UserSearch(owners=frozenset({owner})), size=9).items
    assert all(account.is_disabled for account in owned)
    assert not is_accepted(services, key.secret)
    services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=False)
    if stopped == "by itself":
        services.offboarding.set_disabled(admin, "bim", "robot", HERE, disabled=False)
    assert is_accepted(services, key.secret)


def test_an_owner_who_is_gone_meanwhile_is_no_owner(services: Services, admin: Principal) -> None:
    """When the new owner was deleted between looking and doing, nothing happens and the error says so."""
    gone = add_person(services, "gone")
    group = services.groups.add(admin, HERE, iamid="bim", name="one").group_id
    add_service_account(services, admin, ServiceOwner(admin.user_id))
    services.offboarding.delete(admin, "bim", "gone", HERE)
    services.groups.delete(admin, group, HERE)
    before = actions(services)
    for owner in (ServiceOwner(gone.user_id), ServiceOwner(group_id=group)):
        with pytest.raises(InvalidState):
            services.service_accounts.transfer(admin, "robot", owner, HERE)
        with pytest.raises(InvalidState):
            add_service_account(services, admin, owner, "second")
    assert actions(services) == before
    assert services.service_accounts.get(admin, "robot").owner == ServiceOwner(admin.user_id)
