"""The examples of the API reference are requests that the server takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.core.permissions import Permission
from keyturn.verifying.origin import COMMAND_LINE
from keyturn.web.app import create_framework_app
from keyturn.web.pages.documentation.operations import domains_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

ADMINISTRATOR, COLLEAGUE, CONNECTION = "ada@example.com", "grace@example.com", "123456789"
ABSENT = {401, 404, 409}
"""An example may be answered this besides: it names things by the number 17, and Ada has another password."""


@pytest.fixture
def site(open_site: SiteOpener) -> Iterator[Site]:
    with open_site() as opened:
        opened.add_user(ADMINISTRATOR, frozenset(Permission))
        opened.add_user(COLLEAGUE)
        owner = opened.users[ADMINISTRATOR].user_id
        opened.services.connections.register(COMMAND_LINE, owner, CONNECTION, {})
        yield opened


def test_every_body_is_taken(site: Site) -> None:
    """Each example of a body is shown whole, and is refused neither for its form nor for a value."""
    description = create_framework_app(site.services).openapi_schema.to_schema()
    values = {"iamid": "bim", "userid": COLLEAGUE, "connection_key": CONNECTION}
    operations = [one for domain in domains_of(description, values) for one in domain.operations]
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
        if not answer.is_success and answer.status_code not in ABSENT:
            answers[one.summary] = answer.text
    assert answers == {}
