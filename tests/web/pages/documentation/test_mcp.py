"""The documentation over the Model Context Protocol, for clients of each revision."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tests.people import unknown_key

if TYPE_CHECKING:
    import httpx

    from tests.web.sites import Site

MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def modern(
    client: httpx.Client, method: str, headers: dict[str, str] | None = None, **params: Any
) -> httpx.Response:
    """Send a request of the newest revision, with the headers that repeat it."""
    named = {"tools/call": "name", "resources/read": "uri", "prompts/get": "name"}.get(method)
    sent = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    if named is not None:
        sent["Mcp-Name"] = str(params.get(named))
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": META, **params}}
    return client.post("/docs/mcp", json=body, headers={**sent, **(headers or {})})


def legacy(client: httpx.Client, method: str, version: str | None = None, **params: Any) -> httpx.Response:
    """Send a request as clients of earlier revisions do."""
    headers = {} if version is None else {"MCP-Protocol-Version": version}
    body = {"jsonrpc": "2.0", "id": "a", "method": method, "params": params}
    return client.post("/docs/mcp", json=body, headers=headers)


def test_a_client_discovers_and_uses_it_without_a_session(site: Site) -> None:
    """Discovery, tools and pages are answered one by one; each list says how long it may be kept."""
    with site.client() as client:
        found = modern(client, "server/discover").json()["result"]
        assert MODERN in found["supportedVersions"]
        assert found["resultType"] == "complete"
        tools = modern(client, "tools/list").json()["result"]
        assert {one["name"] for one in tools["tools"]} == {
            "ask_documentation", "search_documentation", "get_documentation_page",
        }  # fmt: skip
        assert (tools["cacheScope"], tools["ttlMs"] > 0) == ("public", True)
        arguments = {"question": "rotate a key without downtime"}
        answer = modern(client, "tools/call", name="ask_documentation", arguments=arguments).json()["result"]
        assert answer["isError"] is False
        assert answer["content"][0]["text"].startswith("# rotate a key without downtime\n")
        page = modern(
            client,
            "tools/call",
            name="get_documentation_page",
            arguments={"page": "/docs/howto/rotate-a-key"},
        ).json()["result"]["content"][0]["text"]
        (first, *_) = modern(client, "resources/list").json()["result"]["resources"]
        read = modern(client, "resources/read", uri=f"{site.url}/docs/howto/rotate-a-key.md").json()["result"]
        assert read["contents"][0]["text"] == page
        assert first["uri"] == f"{site.url}/docs.md"


def test_a_page_or_prompt_that_is_not_there_is_named(site: Site) -> None:
    """The error of a page says which one was asked for; a list of no prompts has no prompt to get."""
    with site.client() as client:
        for answer, data in (
            (modern(client, "resources/read", uri="test://none"), {"uri": "test://none"}),
            (modern(client, "prompts/get", name="none"), None),
        ):
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error.get("data")) == (400, -32602, data)
        assert modern(client, "prompts/list").json()["result"]["prompts"] == []
        assert legacy(client, "prompts/get", name="none").json()["error"]["code"] == -32602
        assert legacy(client, "resources/read", uri="test://none").json()["error"]["code"] == -32002


@pytest.mark.parametrize("version", [None, "2025-03-26", "2025-06-18", "2025-11-25"])
def test_clients_of_earlier_revisions_are_answered(site: Site, version: str | None) -> None:
    """`initialize` gives the revision that was asked for; a notification is accepted; results are plain."""
    with site.client() as client:
        wanted = version or "2024-11-05"
        begun = legacy(client, "initialize", None, protocolVersion=wanted, capabilities={}).json()["result"]
        assert begun["protocolVersion"] == (version or "2025-11-25")
        told = client.post("/docs/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert (told.status_code, told.content) == (202, b"")
        assert legacy(client, "ping", version).json()["result"] == {}
        result = legacy(client, "tools/list", version).json()["result"]
        assert "resultType" not in result
        asked = {"query": "revoke"}
        found = legacy(client, "tools/call", version, name="search_documentation", arguments=asked).json()
        assert "/docs/" in found["result"]["content"][0]["text"]
        assert legacy(client, "no/such", version).json()["error"]["code"] == -32601


def test_what_is_said_twice_must_agree(site: Site) -> None:
    """A header that differs from the body, or is missing, is refused, whoever would believe which."""
    call = {"name": "ask_documentation", "arguments": {"question": "revoke"}}
    encoded = base64.b64encode(b"ask_documentation").decode()
    with site.client() as client:
        wrong = [
            modern(client, "tools/list", {"MCP-Protocol-Version": "2025-11-25"}),
            modern(client, "tools/list", {"Mcp-Method": "tools/call"}),
            modern(client, "tools/call", {"Mcp-Name": "other"}, **call),
            modern(client, "tools/call", {"Mcp-Name": "=?base64?***?="}, **call),
        ]
        assert {(one.status_code, one.json()["error"]["code"]) for one in wrong} == {(400, -32020)}
        good = modern(client, "tools/call", {"Mcp-Name": f"=?base64?{encoded}?="}, **call)
        assert good.json()["result"]["isError"] is False


def test_a_revision_of_the_future_is_told_what_is_spoken(site: Site) -> None:
    """The refusal lists the revisions that are, and says which was asked for."""
    meta = {**META, "io.modelcontextprotocol/protocolVersion": "2099-01-01"}
    with site.client() as client:
        answer = modern(client, "tools/list", {"MCP-Protocol-Version": "2099-01-01"}, _meta=meta)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, -32022)
    assert MODERN in error["data"]["supported"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"[]", -32600),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 7}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}', -32602),
        (b"[" * 50_000, -32700),
    ],
)
def test_bad_messages_are_refused(site: Site, body: bytes, code: int) -> None:
    """The answer is an error of JSON-RPC with 400."""
    with site.client() as client:
        answer = client.post("/docs/mcp", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_a_page_of_another_site_may_not_ask(site: Site) -> None:
    """An `Origin` that is not this server's is refused: a browser would be used by a stranger."""
    with site.client() as client:
        for origin in ("https://evil.example", "http://[", "null", site.url.replace("http:", "ftp:")):
            assert modern(client, "tools/list", {"Origin": origin}).status_code == 403
        assert modern(client, "tools/list", {"Origin": site.url}).status_code == 200


def test_a_tool_tells_what_is_wrong_with_its_arguments(site: Site) -> None:
    """A missing argument, and a credential in a question, are results that the model can mend."""
    with site.client() as client:
        for arguments in ({}, {"question": 7}, {"question": f"is {unknown_key()} good?"}):
            result = modern(client, "tools/call", name="ask_documentation", arguments=arguments).json()[
                "result"
            ]
            assert result["isError"] is True
            assert "kt_" not in result["content"][0]["text"]
        unknown = modern(client, "tools/call", name="other", arguments={})
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (400, -32602)


def test_nothing_streams(site: Site) -> None:
    """There is no stream to open and no session to end."""
    with site.client() as client:
        assert client.get("/docs/mcp").status_code == 405


@pytest.mark.parametrize(
    "page",
    ["http://[x", "//\u2100kt_SECRETTESTVALUE1234567890abcd", "-aeorti" * 5000, "/docs/../x"],
)
def test_no_address_of_a_page_is_a_fault(site: Site, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Any text may stand for a page: it is none, and is not logged."""
    with site.client() as client:
        found = modern(client, "tools/call", name="get_documentation_page", arguments={"page": page}).json()
        assert "There is no such page" in found["result"]["content"][0]["text"]
        read = client.post(
            "/docs/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": page}}
        )
        assert read.json()["error"]["code"] == -32002
    written = capsys.readouterr()
    assert "SECRETTESTVALUE" not in written.out + written.err


def test_a_nested_argument_is_a_fault_of_the_client(site: Site) -> None:
    """However deep the JSON of a parameter is, or no text of Unicode, the answer is an error of JSON-RPC."""
    for uri in ("[" * 980 + "]" * 980, r'"\ud800"'):
        body = '{"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": ' + uri + "}}"
        with site.client() as client:
            answer = client.post("/docs/mcp", content=body.encode())
        assert answer.json()["error"]["code"] in {-32602, -32700}
