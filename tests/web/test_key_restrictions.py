"""Where a key works and who may present it, chosen over the API and on the pages."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from keyturn.client import DpopKeyPair
from keyturn.core.people import ServiceOwner
from keyturn.core.restriction_kinds import MAX_NETWORKS
from keyturn.core.restrictions import UNRESTRICTED
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD
from tests.people import restricted
from tests.proofs import Prover
from tests.web.sites import secret_on

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from keyturn.core.people import UserRecord
    from tests.web.conftest import SiteOpener
    from tests.web.sites import Browser, Site

ADMIN = "admin@example.com"
WHO = "/bim/rpc/user/current"
JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
KEY = "kt_7hQ2mZ9fT1xD_Jr0cW8vNq3LsYbGd5kPzXa6EtUoMhRi43EwHfW"
OPEN = '<details class="fold" open>'
CLOSED = '<details class="fold">'


def status_with(site: Site, credential: str) -> int:
    """Return how the API answers a credential that comes from 127.0.0.1."""
    with site.client() as http:
        return http.get(WHO, headers={"Authorization": credential}).status_code


# Over the API


@pytest.mark.parametrize("prefix", ["/bim", ""])
def test_a_key_is_made_for_networks(any_site: Site, prefix: str) -> None:
    """`allowFrom` binds a key to networks: the answer and the list say them, and from elsewhere it is 401."""
    user = any_site.new_user()
    headers = {"Authorization": any_site.key(user.userid).secret}
    with any_site.client() as http:
        made = [
            http.post(f"{prefix}/apikey", json=body, headers=headers).json()
            for body in ({"allowFrom": ["127.0.0.1", "2001:DB8::/32"]}, {"allowFrom": ["192.0.2.0/24"]}, {})
        ]
        told = [["127.0.0.1/32", "2001:db8::/32"], ["192.0.2.0/24"], None]
        assert [key["allowFrom"] for key in made] == told
        assert [status_with(any_site, key["apikey"]) for key in made] == [200, 401, 200]
        hits = http.get(f"{prefix}/iam/bim/user/{user.userid}/apikeys", headers=headers).json()
        listed = {hit["keyid"]: hit["allowFrom"] for hit in hits}
        assert [listed[key["keyid"]] for key in made] == told
        refused = http.get(WHO, headers={"Authorization": made[1]["apikey"]})
        assert "address" in refused.json()["message"], "the holder of the whole key is told why"


@pytest.mark.parametrize(
    "unfit",
    [[], "127.0.0.1", [5], [None], {}, [""], ["x" * 65], ["127.0.0.1/8"], ["localhost"], ["127.0.0.1"] * 101],
    ids=repr,
)
def test_unfit_networks_make_no_key(site: Site, unfit: object) -> None:
    """Nothing, no list and texts that are not networks are 422 at the field, also for keys of accounts."""
    admin = {"Authorization": site.key(ADMIN).secret}
    account = service_account(site, site.new_user())
    before = [len(site.services.keys.list_of(user_id)) for user_id in (1, account.user_id)]
    with site.client() as http:
        for path in ("/bim/apikey", f"/serviceaccount/{account.userid}/apikey"):
            refused = http.post(path, json={"allowFrom": unfit}, headers=admin)
            assert refused.status_code == 422
            assert refused.json()["validation"][0]["field"].startswith("allowFrom")
    assert [len(site.services.keys.list_of(user_id)) for user_id in (1, account.user_id)] == before


def test_null_is_no_restriction(site: Site) -> None:
    """A client that sends both fields as null gets the key that it gets without them."""
    headers = {"Authorization": site.key(ADMIN).secret}
    with site.client() as http:
        made = http.post("/bim/apikey", json={"allowFrom": None, "dpopJkt": None}, headers=headers)
    assert (made.json()["allowFrom"], made.json()["dpopJkt"]) == (None, None)
    assert status_with(site, made.json()["apikey"]) == 200


def test_a_rotation_over_the_api_keeps_the_networks(any_site: Site) -> None:
    """The new secret works from where the former one did, and from nowhere else; the answer says so."""
    user = any_site.new_user()
    with any_site.client() as http:
        login = {"username": user.userid, "password": PASSWORD}
        token = http.post("/bim/iam/bim/user/authenticate", json=login).json()["token"]
        headers = {"Authorization": token}
        for networks, status in ((["127.0.0.0/8"], 200), (["192.0.2.0/24"], 401)):
            made = http.post("/bim/apikey", json={"allowFrom": networks, "dpopJkt": None}, headers=headers)
            new = http.post(f"/bim/apikey/{made.json()['keyid']}/rotate", headers=headers).json()
            assert new["allowFrom"] == networks
            assert status_with(any_site, new["apikey"]) == status


def test_a_bound_key_makes_none_that_is_wider(any_site: Site) -> None:
    """Over the API too a key for some networks makes keys for a part of them, and no others (A3)."""
    made = any_site.services.keys.create_for(
        any_site.new_user().user_id,
        COMMAND_LINE,
        NewKey(restrictions=restricted(allowFrom=["127.0.0.0/8"])),
    )
    headers = {"Authorization": made.secret}
    with any_site.client() as http:
        inherited = http.post("/bim/apikey", headers=headers).json()
        narrower = http.post("/bim/apikey", json={"allowFrom": ["127.0.0.1"]}, headers=headers).json()
        wider = http.post("/bim/apikey", json={"allowFrom": ["0.0.0.0/0"]}, headers=headers)
    assert (inherited["allowFrom"], narrower["allowFrom"]) == (["127.0.0.0/8"], ["127.0.0.1/32"])
    assert (wider.status_code, wider.json()["validation"][0]["field"]) == (422, "allowFrom")


def test_the_description_names_both_fields(site: Site) -> None:
    """The OpenAPI description has them in what is sent and in what is answered, with the same bound."""
    with site.client() as http:
        described = http.get("/openapi.json").json()
    for name in ("ApiKeyView", "NewApiKeyView", "SystemKeyView"):
        assert {"allowFrom", "dpopJkt"} <= described["components"]["schemas"][name]["properties"].keys()
    for path in ("/bim/apikey", "/apikey", "/serviceaccount/{userid}/apikey"):
        body = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        asked = body["schema"]["properties"]
        assert "dpopJkt" in asked
        (listed,) = (one for one in asked["allowFrom"]["oneOf"] if one["type"] == "array")
        assert (listed["minItems"], listed["maxItems"]) == (1, MAX_NETWORKS)


# On the pages


def service_account(site: Site, owner: UserRecord) -> UserRecord:
    return site.services.users.add(
        COMMAND_LINE,
        userid=f"restricted {site.new_user().userid}",
        name=None,
        permissions=frozenset(),
        owner=ServiceOwner(owner.user_id),
    )


def submit_key(browser: Browser, path: str, **fields: str) -> httpx.Response:
    """Send the form for a new key of oneself, or of the service account whose page it is."""
    action = path if path == "/profile/keys" else f"{path}/keys"
    page = browser.get(f"{action}/new").text
    form_id = page.partition('name="form_id" value="')[2].partition('"')[0]
    return browser.submit(action, **{"expiry": "90", "form_id": form_id, **fields})


def fact(page: str, name: str) -> str | None:
    """Return what stands beside a name among the facts of a page, without its markup."""
    found = re.search(rf"<dt>{name}</dt><dd>(.*?)</dd>", page, re.DOTALL)
    return None if found is None else re.sub(r"<.*?>", "", found[1])


def test_a_person_restricts_a_key(any_site: Site) -> None:
    """The form binds a key to networks, by lines and by commas; lists and questions say to which."""
    user = any_site.new_user()
    browser = any_site.browser(user.userid)
    typed = "127.0.0.0/8,\r\n 2001:db8::7 ,192.0.2.0/24\r\n\r\n"
    shown = submit_key(browser, "/profile/keys", allowFrom=typed)
    assert shown.status_code == 200
    assert fact(shown.text, "Networks") == "127.0.0.0/8, 2001:db8::7, 192.0.2.0/24"
    assert fact(shown.text, "Key pair") is None
    assert status_with(any_site, secret_on(shown.text)) == 200
    assert (
        '<span class="chip">127.0.0.0/8, 2001:db8::7 and 1 more</span>' in browser.get("/profile/keys").text
    )
    assert CLOSED in browser.get("/profile/keys/new").text
    (key,) = any_site.services.keys.list_of(user.user_id)
    for page in ("revoke", "rotate"):
        asked = browser.get(f"/profile/keys/{key.key_id}/{page}").text
        assert fact(asked, "Networks") == "127.0.0.0/8, 2001:db8::7, 192.0.2.0/24"
    elsewhere = secret_on(submit_key(browser, "/profile/keys", allowFrom="192.0.2.0/24").text)
    assert status_with(any_site, elsewhere) == 401


def test_a_person_binds_a_key_to_a_key_pair(any_site: Site) -> None:
    """The form takes the thumbprint; the key opens with a proof alone, and its page shows how to use it."""
    user, prover = any_site.new_user(), Prover()
    browser = any_site.browser(user.userid)
    shown = submit_key(browser, "/profile/keys", dpopJkt=f" {prover.jkt} ")
    secret = secret_on(shown.text)
    assert fact(shown.text, "Key pair") == prover.jkt
    assert "dpop=key_pair" in shown.text
    assert "curl" not in shown.text
    assert status_with(any_site, secret) == 401
    assert '<span class="chip">Key pair</span>' in browser.get("/profile/keys").text
    (key,) = any_site.services.keys.list_of(user.user_id)
    for page in ("revoke", "rotate"):
        assert fact(browser.get(f"/profile/keys/{key.key_id}/{page}").text, "Key pair") == prover.jkt
    plain = submit_key(browser, "/profile/keys").text
    assert "curl http" in plain
    assert "dpop=key_pair" not in plain


def test_the_owner_of_a_service_account_restricts_its_keys(any_site: Site) -> None:
    """The form for a key of a service account has the same part, and so have its list and its questions."""
    owner = any_site.new_user()
    account = service_account(any_site, owner)
    for userid, place in ((owner.userid, "/profile"), (ADMIN, "/admin")):
        browser = any_site.browser(userid)
        path = f"{place}/service-accounts/{account.user_id}"
        assert CLOSED in browser.get(f"{path}/keys/new").text
        shown = submit_key(browser, path, allowFrom="192.0.2.0/24", dpopJkt=JKT)
        assert (fact(shown.text, "Networks"), fact(shown.text, "Key pair")) == ("192.0.2.0/24", JKT)
        assert '<span class="chip">192.0.2.0/24</span>' in browser.get(path).text
        key = any_site.services.keys.list_of(account.user_id)[0]
        asked = browser.get(f"{path}/keys/{key.key_id}/revoke").text
        assert (fact(asked, "Networks"), fact(asked, "Key pair")) == ("192.0.2.0/24", JKT)
        refused = submit_key(browser, path, allowFrom="192.0.2.1/24")
        assert (refused.status_code, 'id="allowFrom-problem"' in refused.text) == (422, True)
        assert OPEN in refused.text


def test_administrators_see_what_keys_are_bound_to(any_site: Site) -> None:
    """The list of everybody's keys has the same few words."""
    user = any_site.new_user()
    submit_key(any_site.browser(user.userid), "/profile/keys", allowFrom="192.0.2.0/24", dpopJkt=JKT)
    listed = any_site.browser(ADMIN).get("/admin/keys", params={"q": user.userid}).text
    assert '<span class="chip">192.0.2.0/24</span>' in listed
    assert '<span class="chip">Key pair</span>' in listed


@pytest.mark.parametrize(
    ("fields", "at_fault", "told"),
    [
        ({"allowFrom": "10.0.0.1/8"}, "allowFrom", "write 10.0.0.0/8, or 10.0.0.1 alone"),
        ({"allowFrom": "192.0.2.7\r\nlocalhost"}, "allowFrom", "localhost is not an address or network"),
        ({"allowFrom": "10.0.0.0 /8"}, "allowFrom", "/8 is not an address or network"),
        ({"allowFrom": " , ,\r\n"}, "allowFrom", "works nowhere"),
        ({"allowFrom": ","}, "allowFrom", "works nowhere"),
        ({"allowFrom": '"><img src=x>'}, "allowFrom", "is not an address or network"),
        ({"dpopJkt": JKT[:-1]}, "dpopJkt", "43 characters"),
        ({"dpopJkt": "<b>"}, "dpopJkt", "43 characters"),
        ({"allowFrom": "192.0.2.7", "dpopJkt": "x"}, "dpopJkt", "43 characters"),
    ],
)
def test_a_mistake_is_told_where_it_was_typed(
    site: Site, fields: dict[str, str], at_fault: str, told: str
) -> None:
    """No key is made; the part of the form is open again, with what was typed and the reason at its field."""
    user = site.new_user()
    answer = submit_key(site.browser(user.userid), "/profile/keys", **fields)
    assert answer.status_code == 422
    assert OPEN in answer.text
    problem = answer.text.partition(f'id="{at_fault}-problem"')[2].partition("</p>")[0]
    assert told in problem
    assert "<img src=x" not in answer.text
    kept = [text.replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;") for text in fields.values()]
    for text in kept:
        assert re.search(rf'(?:>\n|value="){re.escape(text)}(?:</textarea>|")', answer.text)
    assert site.services.keys.list_of(user.user_id).items == ()


def test_all_mistakes_are_told_at_once(site: Site) -> None:
    """Each part that is wrong says so, and the first has the focus, for one's own and an account's key."""
    owner = site.new_user()
    browser, account = site.browser(owner.userid), service_account(site, owner)
    wrong = {"expiry": "date", "allowFrom": "10.0.0.1/8", "dpopJkt": "x"}
    for path in ("/profile/keys", f"/profile/service-accounts/{account.user_id}"):
        answer = submit_key(browser, path, **wrong)
        assert answer.status_code == 422
        told = re.findall(r'id="(\w+)-problem" role="alert"><svg.*?</svg>([^<]+)<', answer.text)
        assert [field for field, _ in told] == ["expiry_date", "allowFrom", "dpopJkt"]
        assert len({text for _, text in told}) == 3
        assert re.findall(r'<\w+ [^>]* id="(\w+)"[^>]* autofocus', answer.text) == ["expiry_date"]
    for one in (owner, account):
        assert site.services.keys.list_of(one.user_id).items == ()


def test_what_was_typed_stays_after_another_mistake(site: Site) -> None:
    """Whoever forgot the expiry finds the networks where they were, in sight, and makes no free key by it."""
    browser = site.browser(site.new_user().userid)
    answer = submit_key(browser, "/profile/keys", expiry="date", allowFrom="192.0.2.0/24", dpopJkt=JKT)
    assert answer.status_code == 422
    assert OPEN in answer.text
    assert ">\n192.0.2.0/24</textarea>" in answer.text
    assert f'value="{JKT}"' in answer.text


def test_white_space_is_nothing(site: Site) -> None:
    """A field in which only spaces and lines stand is empty: the key is free."""
    user = site.new_user()
    shown = submit_key(site.browser(user.userid), "/profile/keys", allowFrom=" \r\n\t", dpopJkt="  ")
    assert shown.status_code == 200
    (key,) = site.services.keys.list_of(user.user_id)
    assert key.restrictions == UNRESTRICTED


def test_a_key_in_the_wrong_field_is_in_no_message(site: Site) -> None:
    """A key that is pasted for a network comes back in its field alone, as a password never would."""
    answer = submit_key(site.browser(site.new_user().userid), "/profile/keys", allowFrom=KEY)
    assert answer.status_code == 422
    assert answer.text.count(KEY) == 1
    assert "Entry 1 is not an address or network" in answer.text


def test_the_form_says_from_where_one_comes(site: Site) -> None:
    """Who restricts a key sees the address that the server sees."""
    page = site.browser(site.new_user().userid).get("/profile/keys/new").text
    assert "You are on <code>127.0.0.1</code>." in page


def test_the_program_on_the_page_runs(
    open_site: SiteOpener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the page of a bound key gives to copy opens the API, with the key pair in its file."""
    key_pair = DpopKeyPair.generate()
    (tmp_path / "key.pem").write_bytes(key_pair.to_pem())
    monkeypatch.chdir(tmp_path)
    with open_site() as site:
        site.clock.now = datetime.now(UTC)  # The program makes its proof by the clock of its machine.
        user = site.new_user()
        shown = submit_key(site.browser(user.userid), "/profile/keys", dpopJkt=key_pair.jkt).text
        text = shown.partition('<code id="program-1-httpx">')[2].partition("</code>")[0]
        monkeypatch.setenv("API_KEY", secret_on(shown))
        exec(compile(html.unescape(text), "program", "exec"), {})
    assert f'"{user.userid}"' in capsys.readouterr().out
