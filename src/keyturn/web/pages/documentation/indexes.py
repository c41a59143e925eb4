"""The documentation as lists: for programs that look for a page, and for search engines."""

from html import escape
from typing import Any

from litestar import Response

from keyturn.web.pages.documentation.site import InjectedSite
from keyturn.web.pages.frame.forms import asset
from keyturn.web.pages.frame.rendering import PRODUCT, InjectedPages
from keyturn.web.representation import Representation
from keyturn.web.requests import AnyRequest
from keyturn.web.routes import HeaderSet

CACHING = "public, max-age=300"
PLAIN = "text/plain"
ABOUT = (
    "Self-hosted API keys and bearer tokens for your own APIs: people create keys on their profile page, "
    "programs send them in the Authorization header or exchange them for a token, and a revoked key is "
    "refused on the next request."
)


@asset("/llms.txt", headers=HeaderSet.CONNECTING_DOCUMENT)
def llms(request: AnyRequest, site: InjectedSite) -> Response[bytes]:
    """Answer the index of all pages for programs, in the form of llmstxt.org."""
    host = site.host_of(request)
    asking = (
        "Add `?ask=QUESTION` to the address of a page for an answer quoted from the documentation, as in "
        f"`GET {host}/docs.md?ask=how+do+I+rotate+a+key`. All pages in one file: {host}/llms-full.txt. The "
        f"HTTP API as OpenAPI 3.1: {host}/openapi.json. How an agent makes and uses a key: {host}/skill.md. "
        f"Over MCP: {host}/docs/mcp."
    )
    parts = [f"# {PRODUCT}", f"> {ABOUT}", asking]
    for part, entries in site.library.parts:
        lines = "\n".join(f"- [{one.title}]({host}{one.markdown_address}): {one.summary}" for one in entries)
        parts.append(f"## {part or 'Overview'}\n\n{lines}")
    return _cached("\n\n".join(parts) + "\n", PLAIN, request)


@asset("/llms-full.txt", headers=HeaderSet.CONNECTING_DOCUMENT)
def llms_full(request: AnyRequest, site: InjectedSite) -> Response[bytes]:
    """Answer all pages as one text."""
    return _cached(site.markdown(site.all_pages, site.host_of(request)) + "\n", PLAIN, request)


@asset("/skill.md", headers=HeaderSet.CONNECTING_DOCUMENT)
def skill(request: AnyRequest, site: InjectedSite, pages: InjectedPages) -> Response[bytes]:
    """Answer how an agent makes and uses a key, in the form of an agent skill (agentskills.io)."""
    text = pages.text("documentation/skill.md", host=site.host_of(request))
    return _cached(text, "text/markdown", request)


@asset("/sitemap.xml", headers=HeaderSet.CONNECTING_DOCUMENT)
def sitemap(request: AnyRequest, site: InjectedSite) -> Response[bytes]:
    """Answer the addresses of all pages (sitemaps.org)."""
    host = site.host_of(request)
    urls = "".join(f"<url><loc>{escape(host + one.address)}</loc></url>\n" for one in site.library.contents)
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}</urlset>\n'
    )
    return _cached(text, "application/xml", request)


def _cached(text: str, media_type: str, request: AnyRequest) -> Response[Any]:
    return Representation.of(text.encode(), media_type).answer(request, CACHING)
