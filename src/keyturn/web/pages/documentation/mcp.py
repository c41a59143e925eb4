"""The documentation for agents, over the Model Context Protocol: read-only and without a session.

Each POST is answered by itself with one JSON object, as revision 2026-07-28 has it (`server/discover`, and in
`_meta` of each request the version, the client and its capabilities). Clients of earlier revisions begin with
`initialize`; their requests are answered too, since no answer depends on an earlier request.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import msgspec
from litestar import Response
from litestar.params import RawBody

from keyturn import __version__
from keyturn.documentation.library import Page
from keyturn.errors import KeyturnError
from keyturn.web.pages.documentation.formats import answer_as_markdown
from keyturn.web.pages.documentation.site import InjectedSite, Site
from keyturn.web.pages.frame.forms import asset
from keyturn.web.pages.frame.rendering import PRODUCT
from keyturn.web.requests import AnyRequest, origin_of
from keyturn.web.responses import response_of
from keyturn.web.routes import HeaderSet

MODERN = "2026-07-28"
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26")
"""Revisions that begin with `initialize`, the newest first."""
ASSUMED = "2025-03-26"
"""The revision of a request that names none."""
TTL_MS = 300_000
INSTRUCTIONS = (
    "The documentation of Keyturn: API keys and bearer tokens. Ask a question first; read the page that the "
    "answer comes from for the details."
)

_META = "io.modelcontextprotocol/"
_SENTINEL = "=?base64?"
_NAMED = {"tools/call": "name", "resources/read": "uri", "prompts/get": "name"}
"""The parameter that `Mcp-Name` repeats."""

Json = dict[str, Any]


class _Fault(Exception):
    """A request that is answered with an error of JSON-RPC."""

    def __init__(self, code: int, message: str, status: HTTPStatus = HTTPStatus.OK, **data: Any) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.data = data


PARSE_ERROR, INVALID_REQUEST, NO_SUCH_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022
LEGACY_NOT_FOUND = -32002
"""Until 2025-11-25, of a resource."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A request, and what it needs for its answer."""

    params: Json
    is_modern: bool
    request: AnyRequest
    site: Site
    host: str

    @property
    def refused(self) -> HTTPStatus:
        """The status of an answer that is an error: earlier revisions say it in the body alone."""
        return HTTPStatus.BAD_REQUEST if self.is_modern else HTTPStatus.OK


@asset("/docs/mcp", headers=HeaderSet.CONNECTING_DOCUMENT, method="POST")
def mcp(request: AnyRequest, body: RawBody, site: InjectedSite) -> Response[Any]:
    """Answer one message."""
    message: Any = None
    try:
        _check_origin(request, site)
        message = _decoded(body)
        if "id" not in message:
            return Response(b"", status_code=HTTPStatus.ACCEPTED)
        result = _result(message, request, site)
        return Response({"jsonrpc": "2.0", "id": message["id"], "result": result})
    except _Fault as fault:
        request.scope["state"]["failure"] = "McpError" if fault.status >= HTTPStatus.BAD_REQUEST else None
        error = {"code": fault.code, "message": str(fault)} | ({"data": fault.data} if fault.data else {})
        known = {"id": message["id"]} if isinstance(message, dict) and "id" in message else {}
        return Response({"jsonrpc": "2.0", **known, "error": error}, status_code=fault.status)


def _check_origin(request: AnyRequest, site: Site) -> None:
    """Refuse what a page of another site sends (DNS rebinding)."""
    if request.headers.get("origin", site.host_of(request)) != site.host_of(request):
        raise _Fault(INVALID_REQUEST, "This origin may not ask.", HTTPStatus.FORBIDDEN)


def _decoded(body: bytes) -> Json:
    try:
        message: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise _Fault(PARSE_ERROR, "The body is not JSON.", HTTPStatus.BAD_REQUEST) from None
    is_request = isinstance(message, dict) and message.get("jsonrpc") == "2.0"
    if not is_request or not isinstance(message.get("method"), str):
        raise _Fault(INVALID_REQUEST, "The body is not a request of JSON-RPC 2.0.", HTTPStatus.BAD_REQUEST)
    known = message.get("id", 0)
    if isinstance(known, bool) or not isinstance(known, (str, int)):
        raise _Fault(INVALID_REQUEST, "The id is a string or a whole number.", HTTPStatus.BAD_REQUEST)
    return cast(Json, message)


def _result(message: Json, request: AnyRequest, site: Site) -> Json:
    params = message.get("params", {})
    if not isinstance(params, dict):
        raise _Fault(INVALID_PARAMS, "The params are an object.", HTTPStatus.BAD_REQUEST)
    method = message["method"]
    is_modern = _is_modern(method, params, request)
    answer = _METHODS[is_modern].get(method)
    if answer is None:
        status = HTTPStatus.NOT_FOUND if is_modern else HTTPStatus.OK
        raise _Fault(NO_SUCH_METHOD, f"There is no method {method} here.", status)
    result = answer(_Call(params, is_modern, request, site, site.host_of(request)))
    if not is_modern:
        return result
    own = {f"{_META}serverInfo": _SERVER_INFO}
    return {"resultType": "complete", **result, "_meta": own}


def _is_modern(method: str, params: Json, request: AnyRequest) -> bool:
    """Return whether a request is of the revision without a handshake; raise `_Fault` for an unfit one."""
    meta = params.get("_meta")
    said = meta.get(f"{_META}protocolVersion") if isinstance(meta, dict) else None
    header = request.headers.get("mcp-protocol-version")
    if said is None and (header is None or header in LEGACY):
        return False
    wrong = HTTPStatus.BAD_REQUEST
    if header is None or (said is not None and header != said):
        raise _Fault(HEADER_MISMATCH, "MCP-Protocol-Version must be the version in _meta.", wrong)
    if header != MODERN:
        supported = [MODERN, *LEGACY]
        text = f"This revision is not spoken here: {header}."
        raise _Fault(UNSUPPORTED_VERSION, text, wrong, supported=supported, requested=header)
    if (
        said is None
        or not isinstance(meta, dict)
        or not isinstance(meta.get(f"{_META}clientCapabilities"), dict)
    ):
        raise _Fault(INVALID_PARAMS, "_meta must name protocolVersion and clientCapabilities.", wrong)
    if request.headers.get("mcp-method") != method:
        raise _Fault(HEADER_MISMATCH, "Mcp-Method must be the method of the body.", wrong)
    named = _NAMED.get(method)
    if named is not None and _plain(request.headers.get("mcp-name", "").strip()) != params.get(named):
        raise _Fault(HEADER_MISMATCH, f"Mcp-Name must be the {named} of the body.", wrong)
    return True


def _plain(value: str) -> str | None:
    """Return the text of a header, which may be encoded; None for an unfit one."""
    if not (value.startswith(_SENTINEL) and value.endswith("?=")):
        return value
    try:
        return base64.b64decode(value.removeprefix(_SENTINEL).removesuffix("?="), validate=True).decode()
    except ValueError:
        return None


def _discover(_call: _Call) -> Json:
    return {
        "supportedVersions": [MODERN, *LEGACY],
        "capabilities": _CAPABILITIES,
        "instructions": INSTRUCTIONS,
        **_CACHED,
    }


def _initialize(call: _Call) -> Json:
    wanted = call.params.get("protocolVersion")
    return {
        "protocolVersion": wanted if wanted in LEGACY else LEGACY[0],
        "capabilities": _CAPABILITIES,
        "serverInfo": _SERVER_INFO,
        "instructions": INSTRUCTIONS,
    }


def _list_tools(call: _Call) -> Json:
    tools = [
        {
            "name": name,
            "title": one.title,
            "description": one.description,
            "inputSchema": one.schema,
            **_READ_ONLY,
        }
        for name, one in _TOOLS.items()
    ]
    return {"tools": tools} | (_CACHED if call.is_modern else {})


def _call_tool(call: _Call) -> Json:
    tool = _TOOLS.get(str(call.params.get("name")))
    if tool is None:
        raise _Fault(INVALID_PARAMS, f"There is no such tool. There are: {', '.join(_TOOLS)}.", call.refused)
    arguments = call.params.get("arguments", {})
    given = arguments if isinstance(arguments, dict) else {}
    wrong = [name for name in tool.schema["required"] if not isinstance(given.get(name), str)]
    try:
        text = f"Give {wrong[0]} as a text." if wrong else tool.run(call, given)
    except KeyturnError as error:
        wrong, text = ["refused"], response_of(error).body.message
    return {"content": [{"type": "text", "text": text}], "isError": bool(wrong)}


def _list_resources(call: _Call) -> Json:
    pages = [
        {
            "uri": f"{call.host}{one.markdown_address}",
            "name": one.title,
            "description": one.summary,
            "mimeType": "text/markdown",
        }
        for one in call.site.library.contents
    ]
    return {"resources": pages} | (_CACHED if call.is_modern else {})


def _read_resource(call: _Call) -> Json:
    uri = call.params.get("uri")
    if not isinstance(uri, str):
        raise _Fault(INVALID_PARAMS, "Give uri as a text.", call.refused)
    found = _page_at(call, uri) if uri.startswith(f"{call.host}/docs") else None
    if found is None:
        code = INVALID_PARAMS if call.is_modern else LEGACY_NOT_FOUND
        raise _Fault(code, "There is no such page: see resources/list.", call.refused, uri=uri)
    content = {"uri": uri, "mimeType": "text/markdown", "text": call.site.whole_page(found, call.host)}
    return {"contents": [content]} | (_CACHED if call.is_modern else {})


def _nothing(name: str) -> Callable[[_Call], Json]:
    """Return the answer to a list of which there is nothing."""
    return lambda call: {name: []} | (_CACHED if call.is_modern else {})


def _get_prompt(call: _Call) -> Json:
    raise _Fault(INVALID_PARAMS, "There is no such prompt: this server has none.", call.refused)


def _ask(call: _Call, given: Json) -> str:
    goal = given["goal"] if isinstance(given.get("goal"), str) else None
    answer = call.site.ask(given["question"], origin_of(call.request).address, goal=goal)
    return answer_as_markdown(answer, "/docs", goal, call.site, call.host)


def _search(call: _Call, given: Json) -> str:
    answer = call.site.ask(given["query"], origin_of(call.request).address)
    hits = [f"- [{one.cited}]({call.host}{one.address})" for one in answer.sources]
    pages = [f"- [{one.title}]({call.host}{one.address}): {one.summary}" for one in answer.related]
    return "\n".join((*hits, *pages)) or "Nothing was found."


def _get_page(call: _Call, given: Json) -> str:
    found = _page_at(call, given["page"])
    if found is not None:
        return call.site.whole_page(found, call.host)
    near = ", ".join(one.address for one in call.site.library.nearest(given["page"]))
    return f"There is no such page. The nearest pages are: {near}."


def _page_at(call: _Call, address: str) -> Page | None:
    """Return the page at an address of this server, or at a path; None for any other text."""
    path = address.removeprefix(call.host).partition("#")[0].removesuffix(".md").removeprefix("/docs")
    return call.site.library.page(path.strip("/"))


@dataclass(frozen=True, slots=True)
class _Tool:
    title: str
    description: str
    schema: Json
    run: Callable[[_Call, Json], str]


def _schema(required: str, /, **properties: str) -> Json:
    return {
        "type": "object",
        "properties": {name: {"type": "string", "description": text} for name, text in properties.items()},
        "required": [required],
    }


_SERVER_INFO = {"name": "keyturn-documentation", "title": f"{PRODUCT} documentation", "version": __version__}
_CAPABILITIES: Json = {"tools": {}, "resources": {}, "prompts": {}}
_CACHED = {"ttlMs": TTL_MS, "cacheScope": "public"}
_READ_ONLY = {"annotations": {"readOnlyHint": True, "openWorldHint": False}}
_TOOLS = {
    "ask_documentation": _Tool(
        "Ask the documentation",
        f"Answer a question about {PRODUCT}, which issues and verifies API keys and bearer tokens, with "
        "quotations from its documentation and where they stand.",
        _schema(
            "question", question="The question, in plain words.", goal="The purpose behind the question."
        ),
        _ask,
    ),
    "search_documentation": _Tool(
        "Search the documentation",
        f"List the sections and pages of the {PRODUCT} documentation about a subject.",
        _schema("query", query="Words to look for."),
        _search,
    ),
    "get_documentation_page": _Tool(
        "Get a page of the documentation",
        f"Return a whole page of the {PRODUCT} documentation as Markdown.",
        _schema("page", page="The address of the page, or its path, such as /docs/howto/rotate-a-key."),
        _get_page,
    ),
}
_COMMON: Mapping[str, Callable[[_Call], Json]] = {
    "tools/list": _list_tools,
    "tools/call": _call_tool,
    "resources/list": _list_resources,
    "resources/read": _read_resource,
    "resources/templates/list": _nothing("resourceTemplates"),
    "prompts/list": _nothing("prompts"),
    "prompts/get": _get_prompt,
}
_METHODS: Mapping[bool, Mapping[str, Callable[[_Call], Json]]] = {
    True: {**_COMMON, "server/discover": _discover},
    False: {**_COMMON, "initialize": _initialize, "ping": lambda _call: {}},
}
