"""The shortest password that an installation takes: by the API, on pages, and in what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.web.people_routes import ADMIN, fresh_name

if TYPE_CHECKING:
    from tests.web.conftest import SiteOpener


def test_the_operator_may_allow_passwords_of_eight_characters(open_site: SiteOpener) -> None:
    """A client that sets a password of eight is answered, one of seven is told the number, as are people."""
    with open_site(password_min_characters=8) as site:
        site.add_people()
        with site.client(headers={"Authorization": site.key(ADMIN).secret}) as client:
            made, refused = (
                client.post("/bim/iam/bim/user", json={"userid": fresh_name(), "password": password})
                for password in ("x9!Kq#vB", "x9!Kq#v")
            )
        assert (made.status_code, made.json()["newUserLink"]) == (200, None)
        assert refused.status_code == 422
        assert refused.json()["validation"] == [{"code": "invalid", "field": "password"}]
        assert "at least 8 characters" in refused.json()["message"]
        assert "At least 8 characters." in site.browser(ADMIN).get("/profile/security").text


def test_fifteen_is_the_length_of_an_operator_who_chose_none(open_site: SiteOpener) -> None:
    """As NIST SP 800-63B says where nothing else proves who somebody is (L1)."""
    with open_site() as site:
        site.add_people()
        assert "At least 15 characters." in site.browser(ADMIN).get("/profile/security").text
