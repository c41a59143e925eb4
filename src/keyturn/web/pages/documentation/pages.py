"""Pages of the documentation, each in the form that is asked for, and answers to `?ask=`."""

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote

from litestar import Response
from litestar.params import FromPath
from markupsafe import Markup, escape

from keyturn.documentation.answers import NO_ANSWER
from keyturn.documentation.library import Page
from keyturn.documentation.places import HOST
from keyturn.errors import KeyturnError
from keyturn.web.pages.documentation.formats import (
    answer_as_json,
    answer_as_markdown,
    ask_address,
    page_as_json,
)
from keyturn.web.pages.documentation.site import InjectedSite, Site
from keyturn.web.pages.frame.forms import asset
from keyturn.web.pages.frame.rendering import InjectedPages, Pages
from keyturn.web.representation import Representation
from keyturn.web.requests import AnyRequest, note_failure, origin_of
from keyturn.web.responses import response_of
from keyturn.web.routes import HeaderSet

Form = Literal["text/html", "text/markdown", "application/json"]
FORMS: tuple[Form, ...] = ("text/html", "text/markdown", "application/json")
"""That which comes first is sent to who wants all of them alike."""

CACHING = "public, max-age=300"
MARKDOWN = "text/markdown"
HTML = "text/html"
EXCERPT_CHARACTERS = 180

_EXAMPLE = re.compile(r"(?<=.)<(?:figure|fieldset|div|pre)\b", re.DOTALL)
"""The beginning of code, after something else."""
_WEIGHT = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


@asset("/docs", "/docs.md", headers=HeaderSet.CONNECTING_DOCUMENT)
def first_page(request: AnyRequest, site: InjectedSite, pages: InjectedPages) -> Response[Any]:
    """Answer the first page, or a question."""
    return _answer("", request, site, pages)


@asset("/docs/{path:path}", headers=HeaderSet.CONNECTING_DOCUMENT)
def page(path: FromPath[str], request: AnyRequest, site: InjectedSite, pages: InjectedPages) -> Response[Any]:
    """Answer any other page, a file, or a question."""
    return _answer(path.strip("/"), request, site, pages)


def _answer(path: str, request: AnyRequest, site: Site, pages: Pages) -> Response[Any]:
    form = form_of(request)
    name = path.removesuffix(".md")
    found = site.library.page("" if name == "README" else name.removesuffix("/README"))
    host = site.host_of(request)
    if found is None:
        content = site.library.file(path)
        if content is None:
            return missing(request, form, site, pages)
        text = content.decode().replace(HOST, host).encode()
        return Representation.of(text, "text/plain").answer(request, CACHING)
    if "ask" in request.query_params:
        return _asked(found, form, request, site, pages)
    match form:
        case "text/markdown":
            made = Representation.of(site.whole_page(found, host).encode(), MARKDOWN)
        case "application/json":
            made = Representation.of(json.dumps(page_as_json(found, site, host)).encode(), "application/json")
        case _:
            html = _page_as_html(found, site, pages, host)
            made = Representation.of(html.encode(), HTML)
    response = made.answer(request, CACHING)
    response.headers.update(_discovery(found, host))
    return response


def form_of(request: AnyRequest) -> Form:
    """Return the form that is asked for: by the address, or else by `Accept` (RFC 9110, section 12.5.1)."""
    wanted = request.headers.get("accept", "")
    if request.scope["path"].endswith(".md"):
        is_data = _quality(wanted, "application/json") > _quality(wanted, "text/markdown")
        return "application/json" if is_data else "text/markdown"
    return max(FORMS, key=lambda form: _quality(wanted, form))


def _quality(accept: str, form: str) -> float:
    """Return how much a media type is wanted, from 0 to 1: by the range that names it most closely."""
    best, found = -1, 0.0
    for part in accept.split(","):
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        names = (form, f"{form.partition('/')[0]}/*", "*/*")
        if media_range in names and (closeness := len(names) - names.index(media_range)) > best:
            best, found = closeness, _weight_of(parameters)
    return found


def _weight_of(parameters: Sequence[str]) -> float:
    weight = next((one.removeprefix("q=") for one in parameters if one.startswith("q=")), "1")
    return float(weight) if _WEIGHT.fullmatch(weight) else 0.0


def _discovery(found: Page, host: str) -> Mapping[str, str]:
    """Return the headers that lead programs to the Markdown and the index."""
    return {
        "Vary": "Accept",
        "Link": f'<{host}{found.entry.markdown_address}>; rel="alternate"; type="text/markdown", '
        f'<{host}{found.entry.address}>; rel="canonical", <{host}/llms.txt>; rel="llms-txt"',
        "X-Llms-Txt": "/llms.txt",
    }


def _page_as_html(found: Page, site: Site, pages: Pages, host: str) -> str:
    return pages.text(
        "documentation/page.html",
        site=site,
        page=found,
        entry=found.entry,
        html=site.html(found.html, host),
        edit=site.edit_address(found),
        host=host,
    )


def missing(request: AnyRequest, form: Form, site: Site, pages: Pages) -> Response[Any]:
    """Answer 404, with the pages whose addresses are nearest."""
    host, path = site.host_of(request), request.scope["path"]
    nearest = site.library.nearest(path.removeprefix("/docs").removesuffix(".md").strip("/"))
    request.scope["state"]["failure"] = "NotFound"
    headers = {"Vary": "Accept", "X-Robots-Tag": "noindex", "Cache-Control": "no-store"}
    match form:
        case "text/markdown":
            lines = "\n".join(
                f"- [{one.title}]({host}{one.markdown_address}): {one.summary}" for one in nearest
            )
            text = (
                f"# Page not found\n\nThere is no page at `{quote(path)}`. The nearest pages are:\n\n{lines}"
                f"\n\nThe index of this documentation is {host}/llms.txt.\n"
            )
            return Response(text, status_code=HTTPStatus.NOT_FOUND, media_type=MARKDOWN, headers=headers)
        case "application/json":
            body = {
                "statusCode": HTTPStatus.NOT_FOUND.value,
                "error": HTTPStatus.NOT_FOUND.phrase,
                "message": "There is no such page. `nearest` lists the nearest ones.",
                "nearest": [{"title": one.title, "page": f"{host}{one.address}"} for one in nearest],
            }
            return Response(body, status_code=HTTPStatus.NOT_FOUND, headers=headers)
        case _:
            html = pages.text("documentation/missing.html", site=site, entry=None, path=path, nearest=nearest)
            return Response(html, status_code=HTTPStatus.NOT_FOUND, media_type=HTML, headers=headers)


def _asked(found: Page, form: Form, request: AnyRequest, site: Site, pages: Pages) -> Response[Any]:
    host = site.host_of(request)
    # Parameters that are repeated are read as one text, so that none of them is overlooked.
    question = " ".join(request.query_params.getall("ask", []))
    goal = " ".join(request.query_params.getall("goal", [])) or None
    headers = {"Vary": "Accept", "X-Robots-Tag": "noindex", "Cache-Control": "no-store"}
    try:
        answer = site.ask(question, origin_of(request).address, goal=goal)
    except KeyturnError as error:
        return _refused(error, form, request, site, pages, headers)
    match form:
        case "text/markdown":
            text = answer_as_markdown(answer, found.entry.address, goal, site, host)
            return Response(text, media_type=MARKDOWN, headers=headers)
        case "application/json":
            return Response(answer_as_json(answer, found.entry.address, goal, site, host), headers=headers)
        case _:
            html = pages.text(
                "documentation/answer.html",
                site=site,
                entry=found.entry,
                answer=answer,
                no_answer=NO_ANSWER,
                excerpt=excerpt,
                host=host,
                ask=lambda section: ask_address(section, found.entry.address, goal, ""),
            )
            return Response(html, media_type=HTML, headers=headers)


def _refused(
    error: KeyturnError, form: Form, request: AnyRequest, site: Site, pages: Pages, headers: Mapping[str, str]
) -> Response[Any]:
    """Answer why a question is not answered, in the form that is asked for, without the question."""
    note_failure(request.scope, error)
    refusal = response_of(error)
    also = {**headers, **dict(refusal.headers)}
    if form == "application/json":
        return Response(refusal.encoded(), status_code=refusal.status, media_type=form, headers=also)
    if form == "text/markdown":
        text = f"# This was not answered\n\n{refusal.body.message}\n"
        return Response(text, status_code=refusal.status, media_type=MARKDOWN, headers=also)
    html = pages.text("documentation/refused.html", site=site, entry=None, message=refusal.body.message)
    return Response(html, status_code=refusal.status, media_type=HTML, headers=also)


def excerpt(html: str, words: Sequence[str]) -> Markup:
    """Return the first words of a piece of HTML, as text, with the words that were looked for marked.

    The sentence before an example is enough to choose by.
    """
    said = _EXAMPLE.split(html, maxsplit=1)[0]
    text = " ".join(Markup(said).striptags().split())  # noqa: S704 - to take its tags away
    short = text if len(text) <= EXCERPT_CHARACTERS else text[:EXCERPT_CHARACTERS].rsplit(" ", 1)[0] + "…"
    if not words:
        return escape(short)
    parts = re.split(rf"(\b(?:{'|'.join(map(re.escape, words))})\w*)", short, flags=re.IGNORECASE)
    return Markup("").join(
        Markup("<mark>{}</mark>").format(part) if at % 2 else part for at, part in enumerate(parts)
    )
