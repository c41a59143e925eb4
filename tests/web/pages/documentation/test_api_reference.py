"""The examples of the API reference are requests that the server takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.core.permissions import Permission
from keyturn.verifying.origin import COMMAND_LINE
from keyturn.web.app import create_framework_app
from keyturn.web.pages.documentation.api_reference import VALUES, WRITTEN
from keyturn.web.pages.documentation.operations import domains_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from keyturn.web.pages.documentation.operations import Domain
    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

ADMINISTRATOR, COLLEAGUE, CONNECTION = "ada@example.com", "grace@example.com", "123456789"
DATABASE = {"technology": "PostgreSQL", "authenticationType": "userPassword", "hostname": "db.example.com"}
NUMBER = "/17"
"""Examples name things by this number; they are not there."""


@pytest.fixture
def site(open_site: SiteOpener) -> Iterator[Site]:
    with open_site() as opened:
        opened.add_user(ADMINISTRATOR, frozenset(Permission))
        opened.add_user(COLLEAGUE)
        owner = opened.users[ADMINISTRATOR].user_id
        opened.services.connections.register(COMMAND_LINE, owner, CONNECTION, DATABASE)
        yield opened


def domains(site: Site) -> Sequence[Domain]:
    description = create_framework_app(site.services).openapi_schema.to_schema()
    return domains_of(description, {**VALUES, "iamid": "bim", "userid": COLLEAGUE})


def test_every_domain_leads_to_the_page_that_explains_it(site: Site) -> None:
    """And no example of a path or a body has a place that nobody filled."""
    with site.client() as client:
        for domain in domains(site):
            page = client.get(f"/docs/api/{domain.path}")
            assert f'href="/docs/{WRITTEN[domain.path]}"' in page.text
            assert client.get(f"/docs/{WRITTEN[domain.path]}").status_code == 200
            assert [one.request for one in domain.operations if "…" in one.request] == []


def test_every_body_is_taken(site: Site) -> None:
    """Each example of a body is shown whole, and is refused neither for its form nor for a value."""
    operations = [one for domain in domains(site) for one in domain.operations]
    with_body = [one for one in operations if one.body_example is not None]
    assert len(with_body) > 20
    answers = {}
    for one in with_body:
        assert one.body_example is not None
        assert "…" not in one.body_example, one.summary
        key = site.key(ADMINISTRATOR).secret
        with site.client() as client:
            answer = client.request(
                one.method,
                one.request,
                content=one.body_example.replace("API_KEY", key),
                headers={"Content-Type": str(one.body_type)}
                | ({"Authorization": key} if one.needs_credential else {}),
            )
        if not answer.is_success and not (answer.status_code == 404 and NUMBER in one.request):
            answers[one.summary] = answer.text
    assert answers == {}
