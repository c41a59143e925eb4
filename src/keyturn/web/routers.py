"""The router of the API: the framework's, but that OPTIONS names all methods of a path."""

from litestar import Router
from litestar.types.internal_types import RouteHandlerMapItem


class ApiRouter(Router):
    """Forgets the OPTIONS handlers that the framework makes, so that it makes them anew.

    Litestar (2.25) makes one for the first handler of a path, and keeps it when others join: it would name
    the methods of the first alone (RFC 9110, section 10.2.1).
    """

    @property
    def route_handler_method_map(self) -> dict[str, RouteHandlerMapItem]:
        """Map each path to its handlers by method."""
        return {
            path: {method: handler for method, handler in handlers.items() if method != "OPTIONS"}
            for path, handlers in super().route_handler_method_map.items()
        }
