"""Nobody keeps the others from signing in, with right passwords neither (Q1, Q4)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher

from keyturn.services.people.identity.passwords import MAX_AT_ONCE, MAX_WAITING
from tests.conftest import PASSWORD
from tests.people import NEW_PASSWORD
from tests.web.sites import Browser, Site

if TYPE_CHECKING:
    import httpx

    from tests.web.conftest import SiteOpener

ALICE, BOB = "alice@example.com", "bob@example.com"
PER_MINUTE = 4


@pytest.fixture
def site(open_site: SiteOpener) -> Iterator[Site]:
    with open_site(passwords_per_minute=PER_MINUTE) as opened:
        opened.add_people()
        opened.add_user(ALICE)
        yield opened


def sign_in(site: Site, userid: str = ALICE, password: str = PASSWORD) -> httpx.Response:
    with site.client() as client:
        body = {"username": userid, "password": password}
        return client.post("/bim/iam/bim/user/authenticate", json=body)


def by_api(site: Site) -> Callable[[], httpx.Response]:
    return lambda: sign_in(site)


def by_page(site: Site) -> Callable[[], httpx.Response]:
    browser = Browser(site)
    return lambda: browser.log_in(ALICE, PASSWORD)


def by_change(site: Site) -> Callable[[], httpx.Response]:
    token = {"Authorization": sign_in(site).json()["token"]}
    body = {"originalPassword": PASSWORD, "password": "short"}
    client = site.client(headers=token)
    return lambda: client.put(f"/bim/iam/bim/user/{ALICE}/password", json=body)


def by_wrong_change(site: Site) -> Callable[[], httpx.Response]:
    token = {"Authorization": sign_in(site).json()["token"]}
    body = {"originalPassword": "not the one it is", "password": NEW_PASSWORD}
    client = site.client(headers=token)
    return lambda: client.put(f"/bim/iam/bim/user/{ALICE}/password", json=body)


def by_security_page(site: Site) -> Callable[[], httpx.Response]:
    browser = site.browser(ALICE)
    fields = {"current_password": PASSWORD, "password": "short", "password_again": "short"}
    return lambda: browser.submit("/profile/security", **fields)


def by_password_again(site: Site) -> Callable[[], httpx.Response]:
    browser = site.browser(ALICE)
    for _ in range(6):  # The session itself lives on.
        site.clock.advance(timedelta(minutes=25))
        browser.get("/profile")
    return lambda: browser.create_key(own_password="not the one it is")


WAYS = [by_api, by_page, by_change, by_wrong_change, by_security_page, by_password_again]


@pytest.mark.parametrize("way", WAYS)
def test_whoever_gives_their_password_all_the_time_must_wait(
    site: Site, way: Callable[[Site], Callable[[], httpx.Response]]
) -> None:
    """Wherever a password is hashed for its holder, too many a minute are 429, to nobody else."""
    once = way(site)
    answers = [once() for _ in range(PER_MINUTE + 1)]
    assert answers[0].status_code != 429
    assert answers[-1].status_code == 429, answers[-1].text
    assert answers[-1].headers["retry-after"] == "15"
    assert "wait 15 seconds" in answers[-1].text
    assert sign_in(site).status_code == 429
    assert sign_in(site, BOB).status_code == 200
    site.clock.advance(timedelta(seconds=15))
    assert sign_in(site).status_code == 200


def test_a_stranger_who_guesses_spends_nothing_of_the_account(site: Site) -> None:
    """Wrong guesses count by address and lock by their own rule: they take no sign-in from the holder."""
    for _ in range(PER_MINUTE):
        assert sign_in(site, ALICE, "not the one it is").status_code == 401
    assert sign_in(site).status_code == 200


class HeldHasher(PasswordHasher):
    """A hasher that works only when it is let go."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.let_go = threading.Event()

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]  # noqa: A002 - the base class's name
        assert self.let_go.wait(10)
        return super().verify(hash, password)


def test_a_crowd_of_right_sign_ins_leaves_a_place_for_another_account(open_site: SiteOpener) -> None:
    """While one account fills the queue, somebody else behind the same address is let in."""
    with open_site() as site:
        site.add_people()
        site.add_user(ALICE)
        passwords = site.services.identity.built_in.passwords
        passwords._hasher = held = HeldHasher()
        answers: list[int] = []
        crowd = [
            threading.Thread(target=lambda: answers.append(sign_in(site).status_code))
            for _ in range(MAX_AT_ONCE + MAX_WAITING + 2)
        ]
        for one in crowd:
            one.start()
        while len(answers) < 2:  # Those who found no place.
            assert held.let_go.wait(0.01) is False
        bobs: list[int] = []
        bob = threading.Thread(target=lambda: bobs.append(sign_in(site, BOB).status_code))
        bob.start()
        while len(answers) < 3:  # The one who made room for him.
            assert held.let_go.wait(0.01) is False
        held.let_go.set()
        for one in (*crowd, bob):
            one.join()
        assert bobs == [200]
        assert sorted(answers) == [200] * (MAX_AT_ONCE + MAX_WAITING - 1) + [503] * 3
