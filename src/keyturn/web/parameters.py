"""Query parameters of lists: those that are known, and the values that one may choose among."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, TypeVar

from litestar.params import QueryParameter

from keyturn.errors import InvalidInput
from keyturn.web.bodies import is_shown_name
from keyturn.web.requests import AnyRequest
from keyturn.web.routes import PARAMETERS

T = TypeVar("T")

SortOrder = Annotated[Literal["asc", "desc"], QueryParameter(name="sortOrder")]


def one_of(name: str, choices: Iterable[str]) -> QueryParameter:
    """Describe a parameter that `chosen` reads."""
    return QueryParameter(name=name, schema_extra={"enum": list(choices)})


def some_of(name: str, choices: Iterable[str]) -> QueryParameter:
    """Describe a parameter that may be repeated, each time with a value that `chosen` reads."""
    items = {"type": "string", "enum": list(choices)}
    return QueryParameter(name=name, schema_extra={"type": "array", "items": items})


def chosen(field: str, text: str, choices: Mapping[str, T]) -> T:
    """Return what a parameter chooses; raise `InvalidInput` that names the choices."""
    if text not in choices:
        raise InvalidInput(field, f"The parameter {field} must be one of {', '.join(choices)}.", code="value")
    return choices[text]


def check_parameters(request: AnyRequest) -> None:
    """Raise `InvalidInput` for a parameter that a list does not know."""
    known: frozenset[str] | None = request.route_handler.opt.get(PARAMETERS)
    if known is None or not (unknown := request.query_params.keys() - known):
        return
    name = min(unknown)
    field = name if is_shown_name(name) else "query"
    raise InvalidInput(field, f"There is a parameter that is not known here: {field}.", code="unknown")
