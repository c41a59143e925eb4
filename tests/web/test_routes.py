"""What a declaration of a route promises, and what follows from it."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import pytest
from litestar import get
from litestar.handlers import HTTPRouteHandler

from keyturn.core.permissions import Permission
from keyturn.web.requests import at_once
from keyturn.web.route_table import RouteTable
from keyturn.web.routes import (
    CLOSED,
    OPEN,
    PROVES_ITSELF,
    Alias,
    HeaderSet,
    Route,
    declared_by,
    handlers_in,
    needs,
    route,
)
from tests.web.sites import ROUTES


async def answer() -> None:
    """Answer nothing."""


def declared(path: str = "/thing", **options: object) -> HTTPRouteHandler:
    return route("GET", path, tag="Things", summary="Read one", **options)(answer)  # type: ignore[arg-type]


def refusals(handler: HTTPRouteHandler) -> set[int]:
    return {status for status in handler.responses or {} if status not in {400, 422, 503}}


def test_a_route_that_says_nothing_of_access_is_closed() -> None:
    """Forgetting the access of a route costs a 401 and opens nothing."""
    handler = declared()
    (one,) = declared_by(handler)
    assert one.access == CLOSED
    assert not RouteTable([one]).is_open("GET", "/thing")
    assert handler.security == [{"Authorization": []}]


def test_a_handler_that_is_not_declared_is_refused() -> None:
    """A handler of the framework's own decorator starts no application."""
    with pytest.raises(TypeError, match="answer is not declared"):
        declared_by(get("/thing")(answer))


def test_only_what_is_declared_is_served() -> None:
    """A route that the framework would serve beside the declared ones, or would not serve, is told."""
    (one,) = declared_by(declared())
    table = RouteTable([one])
    served = SimpleNamespace(path="/thing", methods={"GET", "OPTIONS"})
    table.check_serves([served])  # type: ignore[list-item]
    for wrong in ([], [served, SimpleNamespace(path="/other", methods={"POST"})]):
        with pytest.raises(TypeError, match="not served as they are declared"):
            table.check_serves(wrong)  # type: ignore[arg-type]


def test_no_route_is_declared_twice() -> None:
    """Two handlers of one method and path are told, whatever their parameters are called in the framework."""
    with pytest.raises(TypeError, match="declared twice"):
        RouteTable([Route("GET", "/thing/{name:str}"), Route("GET", "/thing/{name:path}")])


def test_a_handler_that_may_block_is_refused() -> None:
    """Plain code says how it waits, or is not taken."""

    def plain() -> None:
        pass

    with pytest.raises(TypeError, match="may block the event loop"):
        route("GET", "/thing", tag="Things", summary="Read one")(plain)
    assert route("GET", "/thing", tag="Things", summary="Read one")(at_once(plain)).paths == {"/thing"}


def test_the_handlers_of_a_module_are_its_own() -> None:
    """What a module imports from another is served once, where it was declared."""
    module = ModuleType(__name__)
    module.own = declared()  # type: ignore[attr-defined]
    other = ModuleType("elsewhere")
    other.imported = module.own  # type: ignore[attr-defined]
    assert handlers_in([module, other]) == [module.own]


@pytest.mark.parametrize(
    ("path", "access", "told"),
    [
        ("/thing", CLOSED, {401}),
        ("/thing/{thingid:str}", CLOSED, {401, 404}),
        ("/thing", needs(Permission.AUDIT), {401, 403}),
        ("/thing", needs(Permission.AUDIT, without="one's own"), {401}),
        ("/thing/{thingid:str}", needs(Permission.AUDIT), {401, 403, 404}),
        ("/thing/{thingid:str}", OPEN, set()),
    ],
)
def test_the_refusals_follow_from_access_and_path(path: str, access: object, told: set[int]) -> None:
    """401 without a credential, 403 where nothing goes without a permission, 404 for a thing in the path."""
    assert refusals(declared(path, access=access)) == told


def test_an_alias_is_the_same_route_at_a_second_path() -> None:
    """It has the access of the first, and a name of its own in the description."""
    for alias, name in ((Alias("/b"), "answer_short_path"), (Alias("/b", "other"), "other")):
        first, second = declared_by(declared("/a", alias=alias, access=PROVES_ITSELF))
        assert (first.path, first.operation_id) == ("/a", "answer")
        assert (second.path, second.operation_id) == ("/b", name)
        assert first.access == second.access == PROVES_ITSELF
        assert RouteTable([first, second]).proving_paths == {"/a", "/b"}


def test_a_route_is_open_for_its_method_alone() -> None:
    """HEAD goes where GET does; any other method of an open path is closed, and so is what only begins so."""
    table = RouteTable([Route("GET", "/static/{name:str}", OPEN), Route("POST", "/token", OPEN)])
    assert table.is_open("GET", "/static/a")
    assert table.is_open("HEAD", "/static/a")
    assert table.is_open("POST", "/token")
    for method, path in (
        ("POST", "/static/a"),
        ("GET", "/static/a/b"),
        ("GET", "/static/"),
        ("GET", "/token"),
        ("OPTIONS", "/token"),
        ("POST", "/token\n"),
        ("POST", "/token/"),
    ):
        assert not table.is_open(method, path), (method, path)


def test_below_a_section_all_is_pages() -> None:
    """A page alone is its path; below a section also what is not there asks for a session."""
    table = RouteTable(
        [
            Route("GET", "/login", OPEN, is_page=True),
            Route("GET", "/admin/users", is_page=True, section="/admin"),
        ]
    )
    assert all(map(table.is_page, ("/login", "/admin", "/admin/users", "/admin/no\nsuch")))
    assert not any(map(table.is_page, ("/login/x", "/logins", "/administration", "/login\n", "/")))
    assert not RouteTable([]).is_page("")


def test_the_headers_follow_from_the_first_step_of_the_path() -> None:
    """The API owns all that begins as one of its paths does; everything else may be a document."""
    table = RouteTable(
        [
            Route("GET", "/thing/{thingid:str}"),
            Route("GET", "/docs", OPEN, HeaderSet.CONNECTING_DOCUMENT),
            Route("GET", "/docs/{path:path}", OPEN, HeaderSet.CONNECTING_DOCUMENT),
            Route("GET", "/login", OPEN, HeaderSet.DOCUMENT, is_page=True),
        ]
    )
    assert {table.headers_at(path) for path in ("/thing", "/thing/1/2", "/thing//")} == {HeaderSet.DATA}
    assert {table.headers_at(path) for path in ("/docs", "/docs/", "/docs/a", "/docs/a/b")} == {
        HeaderSet.CONNECTING_DOCUMENT
    }
    documents = ("/things", "/login", "/docsx", "/", "", "thing", "//thing")
    assert {table.headers_at(path) for path in documents} == {HeaderSet.DOCUMENT}


def test_pages_with_parameters_stand_in_sections() -> None:
    """So that nobody learns by a path which of them there are."""
    assert all(one.section is not None for one in ROUTES.routes if one.is_page and "{" in one.path)
    assert all(ROUTES.is_page(one.path) for one in ROUTES.routes if one.is_page)
