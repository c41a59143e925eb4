"""What stays the same is written once, and not sent again to whoever has it (RFC 9110, section 13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.web.sites import Site

PATHS = ("/openapi.json", "/static/face.css", "/docs", "/docs.md", "/docs/api/users", "/llms.txt")


@pytest.mark.parametrize("path", PATHS)
def test_fault_h1_whoever_has_it_is_told_so(site: Site, path: str) -> None:
    """The tag names the bytes: with it the answer is 304 and empty, with another tag it is whole."""
    with site.client() as client:
        first = client.get(path)
        tag = first.headers["etag"]
        assert first.status_code == 200
        assert client.get(path).content == first.content
        for held in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = client.get(path, headers={"If-None-Match": held})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
            assert again.headers["cache-control"] == first.headers["cache-control"]
        assert client.get(path, headers={"If-None-Match": '"other"'}).content == first.content


def test_fault_h1_different_files_have_different_tags(site: Site) -> None:
    """No two are taken for each other."""
    with site.client() as client:
        tags = {client.get(path).headers["etag"] for path in PATHS}
    assert len(tags) == len(PATHS)


def test_fault_h1_the_description_is_written_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first answer nobody makes it again."""
    from litestar.openapi.spec import OpenAPI  # noqa: PLC0415 - the framework's

    with site.client() as client:
        first = client.get("/openapi.json")
        monkeypatch.setattr(OpenAPI, "to_schema", None)
        assert client.get("/openapi.json").content == first.content
