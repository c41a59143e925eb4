"""The table of all declared routes: who may make a request, and how it is answered."""

import re
from collections.abc import Iterable, Mapping

from litestar.routes import BaseRoute

from keyturn.web.routes import HeaderSet, Route, RouteAccess


class RouteTable:
    """Every declared route, and what follows for a request. A route that is not declared is closed."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._check_unique()
        self.permissions: Mapping[tuple[str, str], RouteAccess] = {
            (one.method, one.described_path): one.access
            for one in self.routes
            if one.access.any_of and not one.is_page
        }
        """Which routes of the API ask for which permissions."""
        self.any_host_paths = frozenset(one.path for one in self.routes if one.any_host)
        self.proving_paths = frozenset(one.path for one in self.routes if one.access.reads_credential)
        self.open_pages = frozenset(one.path for one in self.routes if one.is_page and one.access.is_open)
        """Pages that a stranger may see, and ask with any method."""
        opened = [one for one in self.routes if one.access.is_open and not one.is_page]
        self._open = frozenset((one.method, one.path) for one in opened if "{" not in one.path)
        self._open_patterns = tuple(
            (one.method, re.compile(one.pattern)) for one in opened if "{" in one.path
        )
        pages = [one for one in self.routes if one.is_page]
        sections = sorted({one.section for one in pages if one.section is not None})
        alone = sorted({one.pattern for one in pages if one.section is None})
        self._page = re.compile(
            "|".join([*alone, *(f"{re.escape(section)}(?:/.*)?" for section in sections)]) or r"(?!)",
            re.DOTALL,
        )
        self._data = frozenset(one.path.split("/")[1] for one in self.routes if one.headers is HeaderSet.DATA)
        shown = [one for one in self.routes if one.headers is not HeaderSet.DATA]
        self._headers = {one.path: one.headers for one in shown if "{" not in one.path}
        self._header_patterns = tuple(
            (re.compile(one.pattern), one.headers)
            for one in shown
            if "{" in one.path and one.headers is not HeaderSet.DOCUMENT
        )

    def is_open(self, method: str, path: str) -> bool:
        """Return whether anybody may make this request. HEAD is what GET is."""
        method = "GET" if method == "HEAD" else method
        return (
            (method, path) in self._open
            or path in self.open_pages
            or any(method == opened and pattern.fullmatch(path) for opened, pattern in self._open_patterns)
        )

    def is_page(self, path: str) -> bool:
        """Return whether this path asks for a session, by cookie, and takes no `Authorization`."""
        return self._page.fullmatch(path) is not None

    def headers_at(self, path: str) -> HeaderSet:
        """Return which headers an answer at this path has, whether there is such a route or not.

        The API owns all that begins as one of its paths does; everything else may be shown as a document.
        """
        if path.startswith("/") and path[1:].partition("/")[0] in self._data:
            return HeaderSet.DATA
        if path in self._headers:
            return self._headers[path]
        return next(
            (headers for pattern, headers in self._header_patterns if pattern.fullmatch(path)),
            HeaderSet.DOCUMENT,
        )

    def check_serves(self, served: Iterable[BaseRoute]) -> None:
        """Raise `TypeError` if the framework serves what is not declared, or does not serve what is."""
        found = {(method, one.path) for one in served for method in one.methods if method != "OPTIONS"}
        if wrong := found ^ {(one.method, one.path) for one in self.routes}:
            raise TypeError(f"Routes that are not served as they are declared: {sorted(wrong)}.")

    def _check_unique(self) -> None:
        seen: set[tuple[str, str]] = set()
        for one in self.routes:
            if (one.method, one.described_path) in seen:
                raise TypeError(f"{one.method} {one.path} is declared twice.")
            seen.add((one.method, one.described_path))
