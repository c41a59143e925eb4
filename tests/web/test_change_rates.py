"""What any user can change, they change only so often, and what is so already is no change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.core.audit import AuditAction
from keyturn.core.permissions import Permission
from keyturn.errors import TooManyFailures
from keyturn.services.people.quotas import ENDS_WHAT_WAS_MADE, FREE_CHANGES
from tests.conftest import PASSWORD
from tests.people import HERE
from tests.web.people_routes import ADMIN, CALLS, Call, add_things, fresh_name, principal
from tests.web.sites import CONNECTION, ROUTES, Site, filled
from tests.web.test_hidden_things import Caller, new_caller
from tests.web.test_revoked_meanwhile import CHANGING

if TYPE_CHECKING:
    from keyturn.core.audit import AuditRow
    from tests.web.conftest import SiteOpener

PER_MINUTE = 20
"""Enough for those who make the things of this test."""
REVOKE = Call("POST", "/oauth/revoke", {"token": "{token}"}, is_form=True)


@pytest.fixture
def site(open_site: SiteOpener) -> Iterator[Site]:
    with open_site(creations_per_minute=PER_MINUTE) as opened:
        opened.add_people()
        yield opened


class Plain:
    """Somebody with the permissions of a newcomer, who owns one of everything that they can."""

    def __init__(self, site: Site) -> None:
        self.site = site
        pass_minute(site)
        self.caller: Caller = new_caller(site, frozenset({Permission.CREATE_PROJECT.value}))
        pass_minute(site)
        admin, own = principal(site, ADMIN), self.caller.own
        fellow = site.new_user()
        self.fellow, self.profile_of_fellow = fellow.userid, fellow.profile.profile_id
        group, project = int(str(own["groupid"])), int(str(own["projectid"]))
        site.services.groups.add_member(admin, group, HERE, iamid="bim", userid=self.fellow)
        site.services.projects.set_member(admin, project, self.fellow, HERE, is_owner=False)
        site.services.projects.add_connection(admin, project, CONNECTION, HERE)
        self.userid = self.caller.userid
        self.key = site.key(self.userid).secret
        self.client = site.client(headers={"Authorization": self.key})
        self.browser = site.browser(self.userid)
        robot = site.services.users.get_by_name("bim", str(self.caller.service["userid"]))
        self._numbers = {
            "": {"user_id": site.users[self.userid].user_id, "key_id": own["keyid"]},
            "robot": {"user_id": robot.user_id, "key_id": self.caller.service["keyid"]},
        }
        self._read = 0
        self.new_rows()

    def new_rows(self) -> list[AuditRow]:
        """Return what was recorded of this person since the last time."""
        rows = self.site.services.store.audit_log.list_after(self._read, limit=100_000)
        self._read = rows[-1].audit_id if rows else self._read
        return [row for row in rows if row.actor_userid == self.userid]

    def spend(self) -> None:
        """Use up what this person may change."""
        me = principal(self.site, self.userid)
        with suppress(TooManyFailures):
            while True:
                self.site.services.keys.quotas.note_creation(me)

    def send(self, one: Call | tuple[str, str]) -> tuple[int, list[AuditRow]]:
        """Make a call or send a form; return the status, and what was recorded of this person."""
        self.new_rows()
        status = self._call(one) if isinstance(one, Call) else self._form(*one)
        return status, self.new_rows()

    def _call(self, call: Call) -> int:
        values = {**self.caller.values(call.path), "token": self._token(), "secret": self.key}
        if "/member/" in call.path:
            values["userid"] = self.fellow
        elif call.path.endswith("/members"):
            values["profileid"] = self.profile_of_fellow
        body: Any = ...
        if call.path.endswith("/profile"):
            body = {"about": fresh_name()}
        elif call.path.endswith("/members"):
            body = {"profileId": self.profile_of_fellow, "state": "owner"}
        elif call.route == ("PUT", "/project/{projectid}"):
            body = {"description": fresh_name()}
        return call.send(self.client, values, body=body).status_code

    def _token(self) -> str:
        with self.site.client() as client:
            answer = client.post("/bim/apikey/authenticate", json={"apikey": self.key})
        return str(answer.json()["token"])

    def _form(self, method: str, pattern: str) -> int:
        sessions, user = self.site.services.sessions, self._numbers[""]["user_id"]
        if not sessions.list_of(user):  # Idle for all those minutes.
            self.browser = self.site.browser(self.userid)
            self.new_rows()
        own = self.caller.own
        numbers = self._numbers["robot" if pattern.startswith("/profile/service-accounts") else ""]
        values = {
            **own,
            **numbers,
            "project_id": own["projectid"],
            "group_id": own["groupid"],
            "membership_id": own["membershipid"],
            "resource_id": own["serviceid"],
            "session_id": sessions.list_of(user)[-1].session_id,
        }
        begun = self.site.services.devices.begin({"client_id": "laptop"}, HERE)
        fields = {
            "csrf": self.browser.csrf(),
            "form_id": fresh_name(),
            "about": fresh_name(),
            "name": "nightly",
            "expiry": "90",
            "user_code": begun.user_code,
            "decision": "approve",
            "overlap": "0",
        }
        return self.browser.request(method, filled(pattern, **values), data=fields).status_code


def pass_minute(site: Site) -> None:
    site.clock.advance(timedelta(minutes=1))


def calls_of(site: Site) -> Iterator[Call | tuple[str, str]]:
    """Give a call or more of each route of the API that changes something, and each form of a page."""
    for method, path in site.routes():
        pattern = re.sub(":str|:path", "", path)
        if method not in CHANGING:
            continue
        if ROUTES.is_page(path):
            if not path.startswith(("/login", "/setup", "/invitation")):
                yield method, path
            continue
        yield from (call for call in (*CALLS, REVOKE) if call.route == (method, pattern))


def is_counted(row: AuditRow) -> bool:
    return AuditAction(row.action) not in FREE_CHANGES


def test_nobody_changes_more_in_a_minute_by_any_route_or_form(site: Site) -> None:
    """With a spent rate each route and form that would record a change answers 429, and records none.

    What is free of it is bounded by something else, or ends what was made.
    """
    counted, plain = set(), Plain(site)
    wrong = {}
    for one in calls_of(site):
        route = one.route if isinstance(one, Call) else one
        plain.spend()
        status, rows = plain.send(one)
        if any(map(is_counted, rows)):
            wrong[route] = f"recorded {rows[-1].action}"
        pass_minute(site)
        control = plain.send(one)[1]
        if any(map(is_counted, control)):
            counted.add(route)
            if status != 429:
                wrong[route] = f"answered {status}"
        if any(AuditAction(row.action) in ENDS_WHAT_WAS_MADE for row in (*rows, *control)):
            plain = Plain(site)
    assert wrong == {}
    assert counted >= {
        ("PUT", "/bim/iam/{iamid}/user/{userid}/profile"),
        ("PUT", "/project/{projectid}"),
        ("POST", "/project/{projectid}/members"),
        ("PUT", "/project/{projectid}/member/{userid}"),
        ("DELETE", "/project/{projectid}/member/{userid}"),
        ("DELETE", "/project/{projectid}/connection/{connection_key}"),
        ("POST", "/oauth/revoke"),
        ("POST", "/profile"),
        ("POST", "/device/decision"),
    }


def test_what_ends_things_is_never_refused_for_its_rate(site: Site) -> None:
    """Whoever has stolen a key and uses the rate up does not keep its owner from revoking it."""
    plain = Plain(site)
    plain.spend()
    assert plain.client.delete(f"/bim/apikey/{plain.caller.own['keyid']}").status_code == 200
    assert plain.client.delete(f"/project/{plain.caller.own['projectid']}").status_code == 200
    with closing(site.browser(plain.userid)) as browser:
        assert browser.submit("/profile/sessions/end-others").status_code == 303
        assert browser.submit("/logout").status_code == 303


def test_administrators_provision_without_that_limit(site: Site) -> None:
    """What is changed for many, by those who may, is not counted: groups, members, profiles, attributes."""
    pass_minute(site)
    things = add_things(site, password=PASSWORD)
    with site.client(headers={"Authorization": site.key(ADMIN).secret}) as client:
        for number in range(PER_MINUTE + 2):
            for path in (
                f"/bim/group/{things.values['groupid']}",
                f"/bim/iam/bim/user/{things.user.userid}/profile",
            ):
                assert client.put(path, json={"name": f"name {number}"}).status_code == 200


ANEW = {
    ("PUT", "/bim/iam/{iamid}/user/{userid}/password"),
    ("PUT", "/data/connection/{connection_key}"),
}
"""Where the same again is another change: all sessions end; and nobody is told that a guess was right."""


def test_what_is_so_already_is_no_change(site: Site) -> None:
    """Each PUT and DELETE that is sent again answers as before or refuses, and records and writes nothing."""
    pass_minute(site)
    wrong = {}
    log = site.services.store.audit_log
    with site.client(headers={"Authorization": site.key(ADMIN).secret}) as client:
        for call in CALLS:
            if call.method not in {"PUT", "DELETE"} or call.route in ANEW:
                continue
            pass_minute(site)
            values = add_things(site, password=PASSWORD).of(call)
            first = call.send(client, values)
            assert first.status_code == call.status, (call, first.text)
            if call.status == HTTPStatus.ACCEPTED:
                site.services.jobs.wait(principal(site, ADMIN), frozenset({first.json()["taskId"]}), 20, 0.05)
            site.clock.advance(timedelta(minutes=1))
            before = log.newest().revision
            again = call.send(client, values)
            if log.newest().revision != before:
                wrong[call.route] = "recorded"
            if call.method == "PUT" and (again.status_code, again.content) != (200, first.content):
                wrong[call.route] = (first.content, again.content)
    assert wrong == {}
