"""What the edge takes of uvicorn's insides, by name: the reason for the ceiling in pyproject.toml.

A test that fails here after an upgrade asks for three things: read what changed in the classes below, run the
tests of the edge, the journeys and `make faults`, then write down the new digests and raise both ends of the
range to the versions that have them.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap

import pytest
from uvicorn import Server as TheirServer
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from keyturn.web.edge import protocol, written_answers
from keyturn.web.edge.protocol import BoundedHttpProtocol
from keyturn.web.edge.server import Server, State
from keyturn.web.edge.workers import Supervisor, Worker

RELIED_ON: dict[tuple[type, type], str] = {
    (BoundedHttpProtocol, HttpToolsProtocol): """
        _start_asgi_task access_logger app client connection_lost connection_made cycle data_received
        expect_100_continue flow headers logger loop on_body on_headers_complete on_message_begin
        on_message_complete on_response_complete parser pipeline scope server_state shutdown transport url
    """,
    (Server, TheirServer): """
        config force_exit handle_exit lifespan on_tick server_state should_exit shutdown started startup
    """,
    (State, ServerState): "",
    (Worker, Process): "config is_alive is_ready parent_conn pid ping process server start target",
    (Supervisor, Multiprocess): """
        config handle_hup handle_int handle_signals handle_term handle_ttin handle_ttou keep_subprocess_alive
        processes processes_num run should_exit sockets
    """,
}
"""Ours, and which members of theirs it calls, reads, sets or overrides."""
OF_A_CYCLE = {"disconnected", "keep_alive", "message_event", "response_complete", "response_started"}
OF_THE_FLOW = {"pause_reading", "resume_reading", "write_paused"}
DIGESTS = {
    HttpToolsProtocol: "18fdf324b11bf160",
    RequestResponseCycle: "e67d470d435dcc1c",
    FlowControl: "126debcdaa894c83",
    TheirServer: "06e799f7c58f8be6",
    ServerState: "f2260fbf10154746",
    Process: "c3105a4518e3195a",
    Multiprocess: "ea4650ac0ee7c09c",
}
"""The first 16 digits of the SHA-256 of each class's source, in every version that pyproject.toml allows."""


def tree_of(source: object) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(source)))  # type: ignore[arg-type]


def members_of(source: object, owner: str) -> set[str]:
    """Return what the source asks of the name `owner`, or of the attribute of that name."""
    return {
        node.attr
        for node in ast.walk(tree_of(source))
        if isinstance(node, ast.Attribute)
        and (getattr(node.value, "id", None) == owner or getattr(node.value, "attr", None) == owner)
    }


def is_there(member: str, theirs: type) -> bool:
    """Return whether instances of theirs have this member: of the class, or set by one of its methods."""
    return hasattr(theirs, member) or member in members_of(theirs, "self")


@pytest.mark.parametrize(("ours", "theirs"), RELIED_ON, ids=lambda each: each.__name__)
def test_every_member_that_is_relied_on_is_named_here(ours: type, theirs: type) -> None:
    """What a class of ours takes of its base is exactly what the table says, and the base has it."""
    own = {name for name in vars(ours) if not name.startswith("__")} | set(ours.__annotations__)
    taken = {name for name in own | members_of(ours, "self") if is_there(name, theirs)}
    assert taken == set(RELIED_ON[ours, theirs].split())


def test_what_is_relied_on_of_a_cycle_is_there() -> None:
    """A cycle has the attributes that are set in it, and is made with the arguments that we give."""
    assert members_of(BoundedHttpProtocol, "cycle") - {"transport"} == OF_A_CYCLE
    assert all(is_there(member, RequestResponseCycle) for member in OF_A_CYCLE)
    (call,) = (
        node
        for node in ast.walk(tree_of(protocol))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "RequestResponseCycle"
    )
    wanted = set(inspect.signature(RequestResponseCycle.__init__).parameters) - {"self"}
    assert {word.arg for word in call.keywords} == wanted
    assert is_there("transport", RequestResponseCycle)
    assert members_of(written_answers.InOneWrite, "_cycle") <= members_of(RequestResponseCycle, "self")


def test_what_is_relied_on_of_the_flow_is_there() -> None:
    """The flow control is asked for these alone, and has them."""
    assert members_of(BoundedHttpProtocol, "flow") <= OF_THE_FLOW
    assert all(is_there(member, FlowControl) for member in OF_THE_FLOW)


def test_what_is_imported_is_what_it_was() -> None:
    """The status lines are bytes for each status, and a worker that cannot start ends with a code."""
    assert STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"
    assert isinstance(STARTUP_FAILURE, int)


@pytest.mark.parametrize("theirs", DIGESTS, ids=lambda each: each.__name__)
def test_nothing_changed_around_what_is_overridden(theirs: type) -> None:
    """Each class that ours stand on reads as it did when the tests of the edge were run on it."""
    digest = hashlib.sha256(inspect.getsource(theirs).encode()).hexdigest()
    assert digest[:16] == DIGESTS[theirs]
