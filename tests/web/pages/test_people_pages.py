"""What the pages of people say was done, and what an administrator does from the page of one person."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import pytest

from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import Permission
from keyturn.errors import CredentialRefused
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.identity.attempts import FREE_FAILURES
from keyturn.verifying.origin import COMMAND_LINE
from keyturn.web.pages.people.devices import UNKNOWN, device_of
from tests.conftest import PASSWORD
from tests.people import HERE, person
from tests.web.people_routes import fresh_name
from tests.web.sites import Browser

if TYPE_CHECKING:
    from keyturn.core.people import UserRecord
    from keyturn.core.principal import Principal
    from keyturn.core.records import ApiKeyRecord
    from tests.web.sites import Site

ADMIN = "admin@example.com"
WHO = "/bim/rpc/user/current"
HOSTILE = "<b>Ada</b> & {0} {x}"


@pytest.fixture
def admin(site: Site) -> Principal:
    return person(site.services, ADMIN)


def told(browser: Browser, path: str, **form: str) -> str:
    """Send a form; return the notice of the page that it leads to."""
    answer = browser.submit(path, **form)
    assert answer.status_code == 303, answer.text
    return notice_on(browser, answer.headers["location"])


def notice_on(browser: Browser, path: str) -> str:
    """Return the notice of a page as text; nothing if it has none."""
    found = re.search(r'<div class="notice" role="status">.*?<p>(.*?)</p>', browser.get(path).text, re.DOTALL)
    return "" if found is None else html.unescape(re.sub(r"</?b>", "", found[1]))


def named(site: Site, admin: Principal, name: str) -> UserRecord:
    user = site.new_user()
    return site.services.user_administration.update_profile(admin, "bim", user.userid, {"name": name}, HERE)


# Notices


def test_each_notice_names_what_was_done_and_to_whom(site: Site, admin: Principal) -> None:
    """The name stands in the notice as text, whatever it holds; the address has its number alone."""
    user, browser = named(site, admin, HOSTILE), site.browser(ADMIN)
    site.key(user.userid)
    group = site.services.groups.add(admin, HERE, name=f"Finance {user.user_id}")
    site.browser(user.userid)
    session = site.services.sessions.list_of(user.user_id)[0].session_id
    path = f"/admin/users/{user.user_id}"
    assert told(browser, f"{path}/permissions", permissions="1") == f"Saved permissions for {HOSTILE}."
    assert told(browser, f"{path}/attributes/add", key="a", value="b") == f"Saved attributes of {HOSTILE}."
    joined = told(browser, f"{path}/groups/add", to_group=str(group.group_id))
    assert joined == f"Added {HOSTILE} to {group.name}."
    left = told(browser, f"{path}/groups/remove", from_group=str(group.group_id))
    assert left == f"Removed {HOSTILE} from {group.name}."
    assert told(browser, f"{path}/sessions/{session}/end") == "Ended the session in Python (httpx)."
    assert told(browser, f"{path}/disable") == f"Suspended {HOSTILE}. 1 key and all sessions stopped working."
    assert told(browser, f"{path}/enable") == f"Restored {HOSTILE}. 1 key works again."
    assert told(browser, f"{path}/sign-out") == (
        f"Signed out {HOSTILE} everywhere. All tokens ended; keys keep working."
    )
    site.browser(user.userid)
    assert told(browser, f"{path}/sign-out") == (
        f"Signed out {HOSTILE} everywhere. 1 session and all tokens ended; keys keep working."
    )
    assert told(browser, f"{path}/unlock").startswith(f"Unlocked {HOSTILE}.")
    assert told(browser, f"{path}/profile", name="Ada") == "Saved the profile of Ada."
    assert told(browser, f"{path}/delete", typed="delete") == (
        f"Deleted {user.userid}, with all keys and sessions."
    )


def test_the_notices_of_groups_projects_and_apis_name_them(site: Site, admin: Principal) -> None:
    """Created, saved and deleted: each says which."""
    browser, user, name = site.browser(ADMIN), named(site, admin, "Inés García"), fresh_name()
    created = browser.submit("/admin/groups/new", name=name).headers["location"]
    assert notice_on(browser, created) == f"Created the group {name}."
    path = created.partition("?")[0]
    assert told(browser, f"{path}/members/add", userid=user.userid) == f"Added Inés García to {name}."
    member = site.services.groups.list_members(admin, int(path.rpartition("/")[2]))[0]
    removed = told(browser, f"{path}/members/{member.membership_id}/remove")
    assert removed == f"Removed Inés García from {name}."
    assert told(browser, path, name=f"{name}!", **{"was.name": name}) == f"Saved the group {name}!."
    assert told(browser, f"{path}/delete", typed="delete") == f"Deleted the group {name}!. Its members stay."

    created = browser.submit("/admin/projects/new", name=name).headers["location"]
    assert notice_on(browser, created) == f"Created the project {name}."
    path = created.partition("?")[0]
    assert told(browser, f"{path}/delete", typed="delete").startswith(f"Deleted the project {name}.")

    form = {"name": name, "identifier": f"urn:{name}", "scope": f"{name}:read", "who": "everyone"}
    created = browser.submit("/admin/services/new", **form).headers["location"]
    assert notice_on(browser, created) == f"Added the API {name}."
    path = created.partition("?")[0]
    assert told(browser, f"{path}/delete", typed="delete").startswith(f"Deleted {name}.")


def test_a_notice_tells_no_name_that_the_viewer_may_not_know(site: Site, admin: Principal) -> None:
    """What somebody else deleted, and a key or session of somebody else, is named to nobody by its number."""
    gone, user = named(site, admin, "Gone"), site.new_user()
    secret_group = site.services.groups.add(admin, HERE, name=fresh_name())
    site.services.offboarding.delete(admin, "bim", gone.userid, HERE)
    site.services.groups.delete(admin, secret_group.group_id, HERE)
    other = site.add_holder(f"{fresh_name()}@example.com", frozenset({Permission.USER_ADMIN}))
    browser = site.browser(other.userid)
    for path, hidden in (
        (f"/admin/users?notice=deleted&deleted={gone.user_id}", gone.userid),
        (f"/admin/groups?notice=deleted&deleted={secret_group.group_id}", secret_group.name),
    ):
        notice = notice_on(browser, path)
        assert notice.startswith("Deleted the ")
        assert hidden not in notice
    for number in ("", "0", "x", "-1", "9" * 30, "<b>"):
        assert notice_on(browser, f"/admin/users?notice=deleted&deleted={number}").startswith(
            "Deleted the user"
        )

    key = site.key(gone_from(site)).record
    session = site.services.sessions.list_of(admin.user_id)[0].session_id
    page = f"/admin/users/{user.user_id}"
    assert "test" not in notice_on(browser, f"{page}?notice=revoked&about={key.key_id}")
    assert notice_on(browser, f"{page}?notice=session&about={session}") == "Ended the session."
    mine = site.browser(user.userid)
    told_of = notice_on(mine, f"/profile/sessions?notice=session-ended&about={session}")
    assert told_of == "Ended the session."
    assert notice_on(browser, f"{page}?notice=no-such") == ""


def gone_from(site: Site) -> str:
    return site.new_user().userid


# The page of one person


def test_an_administrator_ends_sessions(any_site: Site) -> None:
    """One session ends, or all with their tokens; keys go on. A session of somebody else is not found."""
    browser, user = any_site.browser(ADMIN), any_site.new_user()
    key = any_site.key(user.userid)
    first, second = any_site.browser(user.userid), any_site.browser(user.userid)
    path = f"/admin/users/{user.user_id}"
    page = browser.get(path).text
    assert page.count('/end"') == 2
    newest, oldest = sorted(map(int, re.findall(rf"{path}/sessions/(\d+)/end", page)), reverse=True)
    assert browser.submit(f"{path}/sessions/{oldest}/end").status_code == 303
    assert (first.get("/profile").status_code, second.get("/profile").status_code) == (303, 200)
    assert browser.submit(f"{path}/sessions/{oldest}/end").status_code == 404
    own = any_site.services.sessions.list_of(any_site.users[ADMIN].user_id)[0].session_id
    assert browser.submit(f"{path}/sessions/{own}/end").status_code == 404
    assert "1 session ends" in browser.get(f"{path}/sign-out").text
    assert second.get("/profile").status_code == 200, "asking signs nobody out"
    assert browser.submit(f"{path}/sign-out").status_code == 303
    assert second.get("/profile").status_code == 303
    headers = {"Authorization": key.secret}
    assert any_site.client().get(WHO, headers=headers).status_code == 200
    assert newest != oldest


def test_an_administrator_changes_a_profile_and_nothing_else_of_it(site: Site, admin: Principal) -> None:
    """What was typed anew is saved; what somebody else changed meanwhile, and what is not shown, stays."""
    user, browser = named(site, admin, "Old"), site.browser(ADMIN)
    service = site.services.user_administration
    service.update_profile(admin, "bim", user.userid, {"email": "theirs@example.com", "phone": "1"}, HERE)
    form = {"name": "New", "was.name": "Old", "email": "", "was.email": "", "phone": "2"}
    assert browser.submit(f"/admin/users/{user.user_id}/profile", **form).status_code == 303
    profile = site.services.users.get_by_userid("bim", user.userid).profile
    assert (profile.name, profile.email, profile.phone) == ("New", "theirs@example.com", "1")
    cleared = {"email": "", "was.email": "theirs@example.com"}
    assert browser.submit(f"/admin/users/{user.user_id}/profile", **cleared).status_code == 303
    assert site.services.users.get_by_userid("bim", user.userid).profile.email is None


def test_an_administrator_changes_a_user_name(site: Site, admin: Principal) -> None:
    """The page of the account has its user name; one that is taken is refused at the field, as typed."""
    user, browser = named(site, admin, "Somebody"), site.browser(ADMIN)
    path = f"/admin/users/{user.user_id}/profile"
    refused = browser.submit(path, userid=ADMIN, **{"was.userid": user.userid})
    assert (refused.status_code, 'id="userid-problem"' in refused.text) == (422, True)
    assert f'value="{ADMIN}"' in refused.text
    new = fresh_name()
    assert browser.submit(path, userid=new, **{"was.userid": user.userid}).status_code == 303
    assert site.services.users.get_by_userid("bim", new).user_id == user.user_id
    assert (
        f"changed the user name <b>{user.userid}</b> to <b>{new}</b>"
        in browser.get(f"/admin/users/{user.user_id}").text
    )


def test_a_group_is_joined_and_left_from_the_page_of_a_person(any_site: Site) -> None:
    """Only groups that they are not in are offered; what is no group is refused at the field."""
    admin, browser = person(any_site.services, ADMIN), any_site.browser(ADMIN)
    user, group = any_site.new_user(), any_site.services.groups.add(admin, HERE, name=fresh_name())
    path, option = f"/admin/users/{user.user_id}", f'<option value="{group.group_id}">{group.name}</option>'
    assert option in browser.get(path).text
    for wrong in ("", "0", "x", "987654321"):
        answer = browser.submit(f"{path}/groups/add", to_group=wrong)
        assert (answer.status_code, 'id="to_group-problem"' in answer.text) == (422, True), wrong
    assert browser.submit(f"{path}/groups/add", to_group=str(group.group_id)).status_code == 303
    assert option not in browser.get(path).text
    again = browser.submit(f"{path}/groups/add", to_group=str(group.group_id))
    assert (again.status_code, "in the group already" in again.text) == (422, True)
    assert browser.submit(f"{path}/groups/remove", from_group=str(group.group_id)).status_code == 303
    assert any_site.services.groups.list_of(admin, user.user_id).count == 0
    assert browser.submit(f"{path}/groups/remove", from_group=str(group.group_id)).status_code == 404


def fail_to_sign_in(site: Site, userid: str, times: int = FREE_FAILURES) -> None:
    for _ in range(times):
        with pytest.raises(CredentialRefused):
            site.services.logins.log_in_browser(userid, "not the password", HERE)


def test_an_administrator_unlocks_a_person(any_site: Site) -> None:
    """The page says until when they are locked, and opens the account; the list of users agrees."""
    user, browser = any_site.new_user(), any_site.browser(ADMIN)
    path, listed = f"/admin/users/{user.user_id}", f"/admin/users?q={user.userid}"
    fail_to_sign_in(any_site, user.userid)
    page = browser.get(path).text
    assert f"</b>, after {FREE_FAILURES} wrong passwords." in page
    assert f'action="{path}/unlock"' in page
    assert "Locked</span>" in browser.get(listed).text
    with Browser(any_site) as theirs:
        assert theirs.log_in(user.userid, PASSWORD).status_code != 303
        assert browser.submit(f"{path}/unlock").status_code == 303
        page = browser.get(path).text
        assert ("Locked" in page, "/unlock" in page) == (False, False)
        assert "unlocked <a" in page
        assert f"after {FREE_FAILURES} wrong passwords." in page
        assert "Locked</span>" not in browser.get(listed).text
        assert theirs.log_in(user.userid, PASSWORD).status_code == 303


def test_nobody_is_offered_what_they_may_not_do(site: Site, admin: Principal) -> None:
    """Nothing is offered that changes how somebody with more permissions signs in; the page says why."""
    other = site.add_holder(f"{fresh_name()}@example.com", frozenset({Permission.USER_ADMIN}))
    more = site.add_holder(f"{fresh_name()}@example.com", frozenset({Permission.AUDIT}))
    site.browser(more.userid)
    fail_to_sign_in(site, more.userid)
    browser, path = site.browser(other.userid), f"/admin/users/{more.user_id}"
    session = site.services.sessions.list_of(more.user_id)[0].session_id
    page = browser.get(path).text
    assert "may do more than you (AUDIT)." in page
    for form in ("unlock", "sign-out", "invite", f"sessions/{session}/end"):
        assert f"{path}/{form}" not in page, form
        assert browser.submit(f"{path}/{form}").status_code == 403, form
    assert site.services.sessions.list_of(more.user_id).count == 1

    own = f"/admin/users/{other.user_id}"
    fail_to_sign_in(site, other.userid)
    page = browser.get(own).text
    assert ("Another administrator can unlock your account." in page, f"{own}/unlock" in page) == (
        True,
        False,
    )


def test_all_keys_of_a_person_are_revoked_from_their_page(any_site: Site) -> None:
    """The page before lists each; those of others with a like name stay, and so do those made since."""
    user, other, browser = any_site.new_user(), any_site.new_user(), any_site.browser(ADMIN)
    keys = [any_site.key(user.userid) for _ in range(2)]
    named_alike = any_site.services.keys.create(
        person(any_site.services, other.userid), HERE, NewKey(user.userid)
    )
    path, question = f"/admin/users/{user.user_id}", f"/admin/keys/revoke?all=yes&owner={user.user_id}"
    assert f'href="{html.escape(question)}"' in browser.get(path).text
    page = browser.get(question).text
    assert f"Revoke these 2 keys of {user.profile.name or user.userid}?" in page
    hidden = dict(re.findall(r'type="hidden" name="(all|seen|owner)" value="([^"]+)"', page))
    late = any_site.key(user.userid)
    changed = browser.submit("/admin/keys/revoke", **hidden)
    assert changed.status_code != 303, "a key that was made since is not revoked unseen"
    assert "Revoke these 3 keys" in changed.text
    any_site.services.keys.revoke_any(late.record.key_id, COMMAND_LINE)
    assert browser.submit("/admin/keys/revoke", **hidden).status_code == 303
    works = [
        any_site.client().get(WHO, headers={"Authorization": key.secret}).status_code
        for key in (*keys, named_alike)
    ]
    assert works == [401, 401, 200]
    assert "all=yes" not in browser.get(path).text
    assert browser.get(question).status_code == 404


def test_the_service_accounts_of_a_person_are_listed(site: Site) -> None:
    """With their states, and each leads to its page."""
    owner, browser = site.new_user(), site.browser(ADMIN)
    path = f"/admin/users/{owner.user_id}"
    assert 'id="owned"' not in browser.get(path).text
    account = site.services.users.add(
        COMMAND_LINE, userid=fresh_name(), name=None, owner=ServiceOwner(owner.user_id)
    )
    page = browser.get(path).text
    assert f'<a href="/admin/service-accounts/{account.user_id}"><b>{account.userid}</b></a>' in page
    assert "1 service account needs a new owner, or is deleted too." in page


def own_key(site: Site, user: UserRecord) -> ApiKeyRecord:
    """Return a key that this person made themselves."""
    return site.services.keys.create(person(site.services, user.userid), HERE, NewKey("export")).record


def test_a_mistaken_email_address_is_refused_at_its_field(site: Site) -> None:
    """And what was typed stays there."""
    user, browser = site.new_user(), site.browser(ADMIN)
    form = {"name": "Ada", "was.name": "", "email": "ada", "was.email": ""}
    answer = browser.submit(f"/admin/users/{user.user_id}/profile", **form)
    assert (answer.status_code, 'id="email-problem"' in answer.text) == (422, True)
    assert 'value="ada"' in answer.text


def test_guesses_at_a_password_are_told_once(site: Site) -> None:
    """The card has room for what happened before them."""
    user, browser = site.new_user(), site.browser(ADMIN)
    fail_to_sign_in(site, user.userid)
    name = user.profile.name or user.userid
    assert activity(browser, f"/admin/users/{user.user_id}") == [
        f"Somebody failed to sign in as {name}. {FREE_FAILURES} times, from {HERE.address}",
        f"The command line created the user {name}.",
    ]


def activity(browser: Browser, path: str) -> list[str]:
    """Return the events that the card of a page tells, as text."""
    card = browser.get(path).text.partition('<h2 id="activity">')[2].partition("</section>")[0]
    rows = re.findall(r"</svg><div>(.*?)</div></li>", card)
    return [html.unescape(re.sub(r"<[^>]+>", "", row)) for row in rows]


def test_the_activity_of_a_key_for_its_owner_and_for_a_reader_of_the_log(site: Site) -> None:
    """Both are told what happened; of an administrator the owner learns neither the name nor the address."""
    user, browser = site.new_user(), site.browser(ADMIN)
    mine, key = site.browser(user.userid), own_key(site, user)
    assert browser.submit("/admin/keys/revoke", keys=str(key.key_id)).status_code == 303
    own = mine.get(f"/profile/keys/{key.key_id}").text
    told_owner = activity(mine, f"/profile/keys/{key.key_id}")
    told_admin = activity(browser, f"/admin/keys/{key.key_id}")
    created = f"created the key. From {HERE.address}"
    assert told_owner == ["Somebody else revoked the key.", f"You {created}"]
    assert ("/admin/" in own, ADMIN in own) == (False, False)
    assert told_admin[0].startswith("You revoked the key. From ")
    assert told_admin[1:] == [f"{user.profile.name or user.userid} {created}"]
    log = f"/admin/audit?target_type=APIKEY&amp;target={key.key_id}"
    assert log in browser.get(f"/admin/keys/{key.key_id}").text


def test_the_audit_log_of_one_person_has_what_they_did_and_what_was_done_to_them(site: Site) -> None:
    """Their page leads there; a number that is none is refused at its field."""
    user, browser = site.new_user(), site.browser(ADMIN)
    own_key(site, user)
    path = f"/admin/users/{user.user_id}"
    browser.submit(f"{path}/profile", name="Ada", **{"was.name": ""})
    own_key(site, site.new_user())
    changed, created, signed_in, _added = activity(browser, path)
    assert "changed the details of Ada: name." in changed
    assert (created.partition(".")[0], signed_in.partition(".")[0]) == (
        "Ada created the key export",
        "Ada signed in",
    )
    page = browser.get(f"/admin/audit?user={user.user_id}").text
    assert f'href="/admin/audit?user={user.user_id}"' in browser.get(path).text
    assert page.count("<code>ApiKeyCreated</code>") == 1
    assert page.count("<code>UserProfileUpdated</code>") == 1
    assert "Enter the number of a user." in browser.get("/admin/audit?user=ada").text


def test_the_audit_log_is_quoted_to_its_readers_alone(site: Site, admin: Principal) -> None:
    """The last events about a person stand on their page for whoever may read the audit log."""
    user = site.new_user()
    for number in range(12):
        site.services.user_administration.change_attribute(
            admin, "bim", user.userid, ("n", str(number)), HERE, is_given=True
        )
    path = f"/admin/users/{user.user_id}"
    page = site.browser(ADMIN).get(path).text
    assert page.count("the attribute <b>n = ") == 10
    other = site.add_holder(f"{fresh_name()}@example.com", frozenset({Permission.USER_ADMIN}))
    page = site.browser(other.userid).get(path).text
    assert ("Activity" in page, "/admin/audit" in page) == (False, False)


def test_the_keys_of_a_service_account_are_all_within_reach(site: Site, admin: Principal) -> None:
    """Its owner, who has no list of all keys, turns the pages of them."""
    owner = site.new_user()
    account = site.services.users.add(
        COMMAND_LINE,
        userid=fresh_name(),
        name=None,
        permissions=frozenset(),
        owner=ServiceOwner(owner.user_id),
    )
    site.users[account.userid] = account
    for _ in range(21):
        site.key(account.userid)
    browser, path = site.browser(owner.userid), f"/profile/service-accounts/{account.user_id}"
    numbers = [set(re.findall(r"/keys/(\d+)/revoke", browser.get(f"{path}?page={n}").text)) for n in (1, 2)]
    assert [len(found) for found in numbers] == [20, 1]
    assert not numbers[0] & numbers[1]
    assert "Show in All keys" not in browser.get(path).text


# Devices

CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
)
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Version/18.1"


@pytest.mark.parametrize(
    ("user_agent", "device"),
    [
        (CHROME, "Chrome on Linux"),
        (f"{CHROME} Edg/131.0.0.0", "Edge on Linux"),
        (f"{CHROME} OPR/115.0.0.0", "Opera on Linux"),
        (f"{IPHONE} Mobile/15E148 Safari/604.1", "Safari on iPhone"),
        (f"{IPHONE} CriOS/131.0 Mobile/15E148 Safari/604.1", "Chrome on iPhone"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox on Windows",
        ),
        ("Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0", "Firefox on Android"),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit Version/18.1 Safari/605.1",
            "Safari on Mac",
        ),
        ("Mozilla/5.0 (compatible)", "A browser"),
        ("curl/8.5.0", "curl"),
        ("python-requests/2.32", "Python (requests)"),
        ("Go-http-client/1.1", "Go"),
        ("warehouse-loader/3 (nightly)", "warehouse-loader"),
        ("x" * 200, "x" * 40),
        ("<script>", UNKNOWN),
        ("", UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_a_client_is_told_in_words(user_agent: str | None, device: str) -> None:
    """The browser and its system, or the program; nothing that is not known is guessed."""
    assert device_of(user_agent) == device


def test_one_s_own_sessions_are_told_apart(site: Site) -> None:
    """This device is marked and cannot be ended there; the others say from where, and end."""
    user = site.new_user()
    with Browser(site) as other:
        other.headers["User-Agent"] = CHROME
        assert other.log_in(user.userid, PASSWORD).status_code == 303
        browser = site.browser(user.userid)
        page = browser.get("/profile/sessions").text
        assert page.count("This device") == 1
        assert "<b>Chrome on Linux</b>" in page
        (number,) = re.findall(r"/profile/sessions/(\d+)/end", page)
        assert told(browser, f"/profile/sessions/{number}/end") == "Ended the session in Chrome on Linux."
        assert other.get("/profile").status_code == 303
        assert "No other sessions." in browser.get("/profile/sessions").text
