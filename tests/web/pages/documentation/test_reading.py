"""The documentation as it is served: in three forms, cached, under the reader's address, and switched off."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import httpx
import pytest
from llms_txt import parse_llms_file

from keyturn.documentation.library import Library, built_file
from tests.databases import new_sqlite_database
from tests.servers import running_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.web.sites import Site

LIBRARY = Library(built_file())
ENTRIES = LIBRARY.contents
MAX_PAGE_BYTES = 100_000
MAX_INDEX_CHARACTERS = 50_000
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.path or "README")
def test_every_page_is_there_in_each_form(site: Site, entry: object) -> None:
    """A page is HTML for people and Markdown for programs, small enough, and leads from one to the other."""
    with site.client() as client:
        shown = client.get(entry.address, headers={"Accept": BROWSER})  # type: ignore[attr-defined]
        by_suffix = client.get(entry.markdown_address)  # type: ignore[attr-defined]
        by_accept = client.get(entry.address, headers={"Accept": "text/markdown"})  # type: ignore[attr-defined]
        as_json = client.get(entry.address, headers={"Accept": "application/json"})  # type: ignore[attr-defined]
    title = entry.title  # type: ignore[attr-defined]
    assert {one.status_code for one in (shown, by_suffix, by_accept, as_json)} == {200}
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert (
        by_suffix.headers["content-type"]
        == by_accept.headers["content-type"]
        == "text/markdown; charset=utf-8"
    )
    assert by_suffix.content == by_accept.content
    assert by_suffix.text.startswith(f"> The index of this documentation is {site.url}/llms.txt.")
    assert f"\n# {title}\n" in by_suffix.text
    assert f"{entry.markdown_address}?ask=QUESTION" in by_suffix.text  # type: ignore[attr-defined]
    assert as_json.json()["title"] == title
    assert "<!-- ask:" not in shown.text + by_suffix.text + as_json.text
    assert len(shown.content) < MAX_PAGE_BYTES
    for one in (shown, by_suffix):
        assert 'rel="alternate"; type="text/markdown"' in one.headers["link"]
        assert one.headers["vary"] == "Accept"
    assert (
        f'<link rel="alternate" type="text/markdown" href="{site.url}{entry.markdown_address}">' in shown.text
    )  # type: ignore[attr-defined]


def test_every_link_and_anchor_leads_somewhere(site: Site) -> None:
    """No link of a page, as HTML or as Markdown, leads to a page, file or heading that is not there."""
    anchors: dict[str, set[str]] = {}
    links: set[tuple[str, str]] = set()
    with site.client() as client:
        for entry in ENTRIES:
            html = client.get(entry.address, headers={"Accept": BROWSER}).text
            anchors[entry.address] = set(re.findall(r' id="([^"]+)"', html))
            links |= {(entry.address, target) for target in re.findall(r'href="([^"]+)"', html)}
            markdown = client.get(entry.markdown_address).text
            links |= {
                (entry.markdown_address, target.removeprefix(site.url))
                for target in re.findall(r"\]\((http[^)\s]+)\)", markdown)
                if target.startswith(site.url)
            }
        for page, target in links:
            path, _, anchor = target.partition("#")
            address = path.removesuffix(".md") or page.removesuffix(".md")
            if path.startswith(("http", "/profile")) or address == "/llms.txt":
                continue
            if address in anchors:
                assert not anchor or anchor in anchors[address], (page, target)
            else:
                answer = client.get(path.removeprefix(site.url))
                assert answer.status_code == 200, (page, target)


def test_the_host_of_the_examples_is_the_readers(site: Site) -> None:
    """Nothing of the address in the sources is left, in no form."""
    with site.client() as client:
        for address in ("/docs/howto/call-an-api", "/docs/howto/call-an-api.md", "/llms-full.txt"):
            text = client.get(address).text
            assert site.url in text
            assert "http://127.0.0.1:8400" not in text
            assert ".invalid" not in text


def test_a_page_that_is_not_there_names_the_nearest(site: Site) -> None:
    """A mistyped address is 404 in the form that is asked for, with three pages to go on to."""
    with site.client() as client:
        html = client.get("/docs/howto/rotate-key", headers={"Accept": BROWSER})
        markdown = client.get("/docs/howto/rotate-key.md")
        data = client.get("/docs/howto/rotate-key", headers={"Accept": "application/json"})
    assert {one.status_code for one in (html, markdown, data)} == {404}
    assert 'href="/docs/howto/rotate-a-key"' in html.text
    assert f"({site.url}/docs/howto/rotate-a-key.md)" in markdown.text
    assert len(data.json()["nearest"]) == 3
    assert data.json()["nearest"][0]["page"] == f"{site.url}/docs/howto/rotate-a-key"
    assert {one.headers["x-robots-tag"] for one in (html, markdown, data)} == {"noindex"}


@pytest.mark.parametrize("address", ["/docs", "/docs/howto/gateways", "/docs/api"])
def test_a_slash_at_the_end_is_one_too_many(site: Site, address: str) -> None:
    """An address with a slash at its end is answered like the one without."""
    with site.client() as client:
        assert client.get(f"{address}/").content == client.get(address).content


def test_programs_find_all_pages(site: Site) -> None:
    """The index, the whole text and the sitemap name every page; the index is short."""
    with site.client() as client:
        index, whole = client.get("/llms.txt").text, client.get("/llms-full.txt").text
        urls = ET.fromstring(client.get("/sitemap.xml").text)
        skill = client.get("/skill.md")
    assert len(index) < MAX_INDEX_CHARACTERS
    assert index.startswith("# Keyturn\n\n> ")
    for entry in ENTRIES:
        assert f"]({site.url}{entry.markdown_address})" in index
        assert f"# {entry.title}\n" in whole
    parsed = parse_llms_file(index)
    assert parsed.title == "Keyturn"
    assert sum(map(len, parsed.sections.values())) == len(ENTRIES)
    namespace = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
    assert [one.text for one in urls.iter(f"{namespace}loc")] == [
        f"{site.url}{one.address}" for one in ENTRIES
    ]
    assert skill.headers["content-type"] == "text/markdown; charset=utf-8"
    assert skill.text.startswith("---\nname: keyturn\ndescription: ")


def test_a_configuration_can_be_copied(site: Site) -> None:
    """A file that a page links to is plain text."""
    with site.client() as client:
        answer = client.get("/docs/howto/gateways/nginx.conf")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "auth_request" in answer.text


def test_switched_off_it_is_as_if_it_was_never_there(tmp_path: Path) -> None:
    """With KEYTURN_DOCUMENTATION=false a stranger gets the same 401 as on every path."""
    database = new_sqlite_database(tmp_path)
    with running_server(database, documentation=False) as server, httpx.Client(base_url=server.url) as client:
        for path in ("/docs", "/docs.md", "/docs/api", "/docs/x", "/llms.txt", "/sitemap.xml", "/skill.md"):
            assert client.get(path).status_code == 401, path
        assert client.post("/docs/mcp", json={}).status_code == 401
        assert client.get("/openapi.json").status_code == 200
        assert "/docs" not in client.get("/login", headers={"Accept": BROWSER}).text
        metadata = client.get("/.well-known/oauth-authorization-server").json()
        assert metadata["service_documentation"] == f"{server.url}/openapi.json"


def test_the_sources_are_linked_where_a_setting_names_them(tmp_path: Path) -> None:
    """With KEYTURN_REPOSITORY_URL each page can be changed, and links to other files of it lead there."""
    address = "https://git.example.com/team/keyturn"
    database = new_sqlite_database(tmp_path)
    with (
        running_server(database, repository_url=address) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        page = client.get("/docs/explanation/promises").text
        assert f'href="{address}/edit/main/docs/explanation/promises.md"' in page
        assert f'href="{address}/blob/main/tests/' in page or f"{address}/blob/main/" in page


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", "text/html"),
        ("", "text/html"),
        ("text/markdown", "text/markdown"),
        ("text/markdown, text/html;q=0.9", "text/markdown"),
        ("text/html, text/markdown;q=0.9", "text/html"),
        ("application/json", "application/json"),
        ("application/json;q=0, text/markdown;q=0.1", "text/markdown"),
        ("text/*;q=0.5, application/json;q=0.4", "text/html"),
        ("text/html;q=inf, text/markdown", "text/markdown"),
        ("text/html;q=1e400", "text/html"),
        (",;,q=;;=", "text/html"),
    ],
)
def test_the_form_is_the_one_that_is_wanted_most(site: Site, accept: str, form: str) -> None:
    """Weights and ranges mean what HTTP says, and nonsense means nothing (RFC 9110, section 12.5.1)."""
    with site.client() as client:
        answer = client.get("/docs", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(form)


def test_a_long_address_costs_no_more_than_a_short_one(site: Site) -> None:
    """What is compared with the pages is bounded: the nearest to a cut address are those to a long one."""
    beginning = "howto/rotate-key" + "-e" * 42
    assert LIBRARY.nearest(beginning + "-e" * 4000) == LIBRARY.nearest(beginning)
    with site.client() as client:
        assert client.get("/docs/" + "-e" * 3900).status_code == 404


def test_a_part_of_the_reference_that_is_not_there_is_a_page(site: Site) -> None:
    """A browser gets a page with what is nearest, as everywhere below /docs."""
    with site.client() as client:
        answer = client.get("/docs/api/unknown", headers={"Accept": BROWSER})
    assert answer.status_code == 404
    assert "Page not found" in answer.text


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_no_page_names_a_port_that_is_none(site: Site, port: str) -> None:
    """The reader's address is written into pages that are cached: it must be one."""
    with site.client() as client:
        assert client.get("/llms.txt", headers={"Host": f"localhost:{port}"}).status_code == 400
