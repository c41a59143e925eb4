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


@pytest.mark.parametrize("name", ["face.css", "face.js", "docs.js", "icons.svg", "favicon.svg"])
def test_a_file_is_packed_for_who_takes_it(site: Site, name: str) -> None:
    """The bytes are the same once unpacked, and the tags of both forms differ."""
    with site.client() as client:
        plain = client.get(f"/static/{name}", headers={"Accept-Encoding": "identity"})
        packed = client.get(f"/static/{name}", headers={"Accept-Encoding": "br, gzip;q=0.5"})
        refused = client.get(f"/static/{name}", headers={"Accept-Encoding": "gzip;q=0, identity"})
        held = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["etag"]}
        assert client.get(f"/static/{name}", headers=held).status_code == 304
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content == refused.content
    assert int(packed.headers["content-length"]) < len(plain.content)
    assert not {"content-encoding"} & {*plain.headers, *refused.headers}
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert plain.headers["etag"] == refused.headers["etag"] != packed.headers["etag"]


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
