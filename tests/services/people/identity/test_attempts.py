"""Every identity provider is held to the same rules, and keeps its own users."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from keyturn.composition import open_services
from keyturn.core.permissions import Permission
from keyturn.errors import CredentialRefused, InvalidInput, NotFound, TooManyFailures
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.identity.attempts import FREE_FAILURES
from keyturn.services.people.identity.password_provider import PasswordProvider
from keyturn.services.people.identity.passwords import CHEAPEST, Passwords
from keyturn.services.people.identity.provider import Credentials, Identity
from keyturn.services.people.identity.registry import IdentityProviders
from keyturn.verifying.origin import COMMAND_LINE
from tests.fakes import Directory
from tests.people import HERE, PASSWORD, actions, add_person, holder, is_accepted, signed_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keyturn.composition import Services
    from keyturn.core.people import UserRecord
    from keyturn.core.principal import Principal
    from keyturn.services.people.identity.provider import IdentityProvider
    from keyturn.settings import Settings
    from tests.fakes import Clock

    Opener = Callable[..., Services]

DIRECTORY_PASSWORD = "as the directory knows it"
WRONG = "not the password at all"


@pytest.fixture
def directory() -> Directory:
    """A directory in which carol, and somebody who is a stranger here, have passwords."""
    return Directory(carol=DIRECTORY_PASSWORD, stranger=DIRECTORY_PASSWORD)


@pytest.fixture
def open_with(services: Services, clock: Clock) -> Iterator[Opener]:
    """Open the same installation with these providers besides the built-in one."""
    settings: Settings = services.settings
    opened: list[Services] = []

    def open_again(*providers: IdentityProvider) -> Services:
        again = open_services(settings, clock.system(), hashing=CHEAPEST, identity_providers=providers)
        opened.append(again)
        return again

    yield open_again
    for again in opened:
        again.close()


@pytest.fixture
def both(open_with: Opener, directory: Directory) -> Services:
    """Services over the built-in provider and the directory, with bob here and carol there."""
    services = open_with(directory)
    add_person(services)
    add_carol(services)
    return services


def add_carol(services: Services) -> UserRecord:
    return services.users.add(COMMAND_LINE, iamid=Directory.iamid, userid="carol", name="Carol")


def log_in_carol(services: Services, password: str = DIRECTORY_PASSWORD) -> Principal:
    cookie = services.logins.log_in_browser("carol", password, HERE, iamid=Directory.iamid).cookie
    return signed_in(services, cookie).principal


def test_a_user_of_a_second_provider_signs_in_there_alone(both: Services) -> None:
    """The same name opens only the account of the provider that was named; the record says which it is."""
    assert log_in_carol(both).iamid == Directory.iamid
    for iamid, userid, password in (
        (None, "carol", DIRECTORY_PASSWORD),
        ("bim", "carol", DIRECTORY_PASSWORD),
        (Directory.iamid, "bob", PASSWORD),
        (Directory.iamid, "stranger", DIRECTORY_PASSWORD),
        ("CORP", "carol", DIRECTORY_PASSWORD),
    ):
        with pytest.raises(CredentialRefused):
            both.logins.log_in_browser(userid, password, HERE, iamid=iamid)


def test_two_providers_may_each_have_a_user_of_one_name(both: Services) -> None:
    """A name is unique at its provider, and each account is found under its own iamid alone."""
    here = add_person(both, "carol")
    there = both.users.get_by_userid(Directory.iamid, "carol")

    assert here.user_id != there.user_id
    assert both.users.get_by_userid("bim", "carol").user_id == here.user_id
    assert both.users.get_by_userid(None, "carol").user_id == here.user_id
    assert both.users.get_by_userid(None, str(there.user_id)).user_id == there.user_id
    for iamid, user in (("bim", there), (Directory.iamid, here)):
        with pytest.raises(NotFound):
            both.users.get_by_userid(iamid, str(user.user_id))


def test_wrong_tries_lock_a_user_of_any_provider_alike(both: Services, directory: Directory) -> None:
    """After as many failures as a password is allowed, the right password is refused too (L4)."""
    written = len(actions(both))
    for _ in range(FREE_FAILURES):
        with pytest.raises(CredentialRefused):
            log_in_carol(both, WRONG)
    with pytest.raises(CredentialRefused):
        log_in_carol(both)
    assert actions(both)[written:] == ["UserLoginFailed"] * FREE_FAILURES
    assert directory.asked == ["carol"] * (FREE_FAILURES + 1), "a locked account costs the same work"


def test_every_refused_login_at_a_provider_is_its_work_once(both: Services, directory: Directory) -> None:
    """Unknown, disabled and wrong cost one comparison there, and none of the built-in provider (L3)."""
    gone = both.users.add(COMMAND_LINE, iamid=Directory.iamid, userid="gone", name=None)
    actor = holder(both, "ada", *Permission)
    both.offboarding.set_disabled(actor, Directory.iamid, gone.userid, HERE, disabled=True)
    for userid in ("carol", "gone", "nobody", "stranger"):
        with pytest.raises(CredentialRefused):
            both.logins.log_in_api(Directory.iamid, userid, WRONG, HERE)
    assert directory.asked == ["carol", "gone", "nobody", "stranger"]


def test_the_password_of_another_provider_cannot_be_set_here(both: Services) -> None:
    """Nobody sets, changes or invites to a password that Keyturn does not keep."""
    admin, carol = holder(both, "ada", *Permission), log_in_carol(both)
    record = both.users.get_by_userid(Directory.iamid, "carol")
    users, managed = both.users, both.user_administration
    session = signed_in(
        both, both.logins.log_in_browser("carol", DIRECTORY_PASSWORD, HERE, iamid="corp").cookie
    )
    for act in (
        lambda: users.set_password(COMMAND_LINE, record, PASSWORD),
        lambda: users.change_password(session, old=DIRECTORY_PASSWORD, new=PASSWORD, origin=HERE),
        lambda: users.add(COMMAND_LINE, iamid="corp", userid="dave", name=None, password=PASSWORD),
        lambda: managed.invite(admin, "corp", "carol", HERE),
        lambda: managed.set_password(admin, "corp", "carol", password=PASSWORD, current=None, origin=HERE),
        lambda: managed.set_password(
            carol, "corp", "carol", password=PASSWORD, current=DIRECTORY_PASSWORD, origin=HERE
        ),
    ):
        with pytest.raises(InvalidInput, match="Corporate directory"):
            act()
    assert not both.users.get_by_userid(Directory.iamid, "carol").has_password


def test_a_provider_that_says_yes_to_everything_opens_no_closed_account(open_with: Opener) -> None:
    """Whatever a provider answers, an account that is absent, disabled or another's stays closed."""

    class Careless(Directory):
        """Takes everybody for the first user."""

        def verify(self, credentials: Credentials) -> Identity | None:
            return Identity(first.user_id)

    services = open_with(Careless())
    first = services.users.add(COMMAND_LINE, iamid="corp", userid="first", name=None)
    services.users.add(COMMAND_LINE, iamid="corp", userid="second", name=None)
    assert services.logins.log_in_browser("first", WRONG, HERE, iamid="corp")
    services.offboarding.set_disabled(
        holder(services, "ada", *Permission), "corp", "first", HERE, disabled=True
    )
    for userid in ("first", "second", "third"):
        with pytest.raises(CredentialRefused):
            services.logins.log_in_browser(userid, WRONG, HERE, iamid="corp")


def test_a_provider_that_takes_no_password_opens_nothing_for_one(open_with: Opener) -> None:
    """Neither a sign-in nor a proof within a session asks a provider that judges no passwords."""

    class ByRedirect(Directory):
        """Signs people in elsewhere."""

        takes_password = False

    directory = Directory(carol=DIRECTORY_PASSWORD)
    before = open_with(directory)
    add_carol(before)
    carol = log_in_carol(before)
    redirect = ByRedirect(carol=DIRECTORY_PASSWORD)
    services = open_with(redirect)
    with pytest.raises(CredentialRefused):
        log_in_carol(services)
    with pytest.raises(InvalidInput, match="sign out and in again"):
        services.users.check_own_password(carol, DIRECTORY_PASSWORD, field="password", origin=HERE)
    assert redirect.asked == []


def test_the_proof_within_a_session_is_the_providers(both: Services, clock: Clock) -> None:
    """Somebody who is signed in proves it again where they signed in; a wrong proof counts as a guess."""
    carol = log_in_carol(both)
    both.users.check_own_password(carol, DIRECTORY_PASSWORD, field="password", origin=HERE)
    for _ in range(FREE_FAILURES):
        with pytest.raises(InvalidInput):
            both.users.check_own_password(carol, WRONG, field="password", origin=HERE)
    with pytest.raises(CredentialRefused):
        log_in_carol(both)


def test_users_of_a_provider_that_is_gone_are_still_managed(both: Services, services: Services) -> None:
    """Without their provider nobody signs in, keys go on, and administrators can stop them."""
    key = both.keys.create_for(
        both.users.get_by_userid("corp", "carol").user_id, COMMAND_LINE, NewKey(None, None)
    )
    with pytest.raises(CredentialRefused):
        log_in_carol(services)
    assert is_accepted(services, key.secret)
    admin = holder(services, "ada", *Permission)
    services.offboarding.set_disabled(admin, "corp", "carol", HERE, disabled=True)
    assert not is_accepted(services, key.secret)
    with pytest.raises(NotFound):
        services.user_administration.add(
            admin, HERE, iamid="corp", userid="dave", profile={}, password=None, permissions=()
        )


def test_the_rate_of_failures_counts_for_all_providers_together(
    services: Services, clock: Clock, directory: Directory
) -> None:
    """An address that has failed too often is refused before any provider is asked (Q1)."""
    chosen = replace(services.settings, sign_in_failures_per_minute=2)
    with closing(
        open_services(chosen, clock.system(), hashing=CHEAPEST, identity_providers=(directory,))
    ) as opened:
        for iamid in ("corp", "bim"):
            with pytest.raises(CredentialRefused):
                opened.logins.log_in_api(iamid, "nobody", WRONG, HERE)
        with pytest.raises(TooManyFailures):
            opened.logins.log_in_api("corp", "nobody", WRONG, HERE)
    assert directory.asked == ["nobody"]


def test_two_providers_of_one_id_do_not_open() -> None:
    """An iamid names one provider, and the built-in one keeps its own."""

    class Impostor(Directory):
        """Takes the name of the built-in provider."""

        iamid = "bim"

    for others in ((Directory(), Directory()), (Impostor(),)):
        with pytest.raises(ValueError, match="two identity providers"):
            IdentityProviders(PasswordProvider(Passwords(CHEAPEST)), *others)
