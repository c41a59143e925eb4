"""Trino, over its HTTP protocol and the HTTP client that Keyturn has: a statement, then page after page.

Trino's own driver would ask DNS again, and go where the server's answers point. Here every page is asked of
the checked address: of the `nextUri` in an answer only its path is taken.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from keyturn.adapters.adapter import Session, Target
from keyturn.adapters.catalog import TEXT, Schema, Table, read_row, tables_of_rows
from keyturn.adapters.findings import Fault, Finding
from keyturn.adapters.tls import begin_at_once, tls_fault

MAX_PAGE_BYTES = 32 * 2**20
"""Of one answer. Trino's own pages are of a megabyte, unless a row is larger."""
MAX_EMPTY_PAGES = 100_000

_PATH = "/v1/statement"
_SYSTEM = ("information_schema",)


class _Error(msgspec.Struct):
    message: str = ""
    errorName: str = ""  # noqa: N815 - as Trino writes it


class _Page(msgspec.Struct):
    nextUri: str | None = None  # noqa: N815
    data: list[list[Any]] = []
    error: _Error | None = None


_PAGE = msgspec.json.Decoder(_Page)
_FINDINGS = {
    "CATALOG_NOT_FOUND": Finding.NO_DATABASE,
    "PERMISSION_DENIED": Finding.STATEMENT_REFUSED,
    "EXCEEDED_TIME_LIMIT": Finding.TOO_SLOW,
    "QUERY_QUEUE_FULL": Finding.TOO_MANY_SESSIONS,
}


class Trino:
    """Signs in to Trino."""

    begin_tls = staticmethod(begin_at_once)

    def login(self, target: Target, context: ssl.SSLContext | None) -> Session:
        """Ask a first statement: Trino has no sessions, each request has the password."""
        if context is None:
            raise Fault(Finding.UNSAFE_LOGIN)
        bare = f"[{target.address}]" if target.address.version == 6 else str(target.address)
        client = httpx.Client(
            base_url=f"https://{bare}:{target.port}",
            headers={
                "Host": f"{target.host}:{target.port}",
                "X-Trino-User": target.text("username"),
                "X-Trino-Source": "keyturn",
                "X-Trino-Session": f"query_max_run_time={target.limits.statement}s",
            },
            auth=httpx.BasicAuth(target.text("username"), target.text("password")),
            verify=context,
            timeout=target.limits.statement,
            follow_redirects=False,
            trust_env=False,
        )
        session = _Session(client, target)
        try:
            list(session.ask("SELECT 1"))
        except BaseException:
            client.close()
            raise
        return session


@dataclass(frozen=True, slots=True)
class _Session:
    client: httpx.Client
    target: Target

    def open_database(self) -> None:
        list(self.ask(f"SHOW SCHEMAS FROM {self._catalog} LIKE 'information_schema'"))

    def count_schemas(self) -> int:
        return sum(1 for _ in self._schemas())

    def version(self) -> str:
        for row in self.ask("SELECT version()"):
            return f"Trino {read_row(row, TEXT)[0]}"
        raise Fault(Finding.OTHER_PROTOCOL)

    def crawl(self, known: frozenset[str]) -> Iterator[Schema | Table]:
        catalog = self.target.text("catalog")
        for name in self._schemas():
            yield Schema((catalog, name))
        columns = (
            "SELECT table_schema, table_name, column_name, data_type, CAST(NULL AS varchar) "  # noqa: S608 - quoted
            f"FROM {self._catalog}.information_schema.columns WHERE table_schema <> 'information_schema' "
            "ORDER BY table_schema, table_name, ordinal_position"
        )
        yield from tables_of_rows(self.ask(columns), (catalog,), known)

    def change_password(self, new: str) -> None:  # noqa: ARG002 - as for others
        """Refuse: Trino has no statement for it."""
        raise Fault(Finding.PASSWORD_UNCHANGED)

    def close(self) -> None:
        self.client.close()

    @property
    def _catalog(self) -> str:
        return '"' + self.target.text("catalog").replace('"', '""') + '"'

    def _schemas(self) -> Iterator[str]:
        for row in self.ask(f"SHOW SCHEMAS FROM {self._catalog}"):
            (name,) = read_row(row, TEXT)
            if name not in _SYSTEM:
                yield name

    def ask(self, statement: str) -> Iterator[object]:
        """Yield the rows of a statement as their pages come; raise `Fault`."""
        page = self._page("POST", _PATH, statement)
        empty = 0
        while True:
            yield from page.data
            if page.nextUri is None:
                return
            empty = 0 if page.data else empty + 1
            if empty > MAX_EMPTY_PAGES:
                raise Fault(Finding.TOO_SLOW)
            page = self._page("GET", _next_path(page.nextUri), "")

    def _page(self, method: str, path: str, body: str) -> _Page:
        sni = {"sni_hostname": self.target.host}
        with _faults(), self.client.stream(method, path, content=body.encode(), extensions=sni) as answer:
            if answer.status_code in {401, 403}:
                raise Fault(Finding.LOGIN_REFUSED, f"status {answer.status_code}")
            if answer.status_code != httpx.codes.OK:
                raise Fault(Finding.OTHER_PROTOCOL, f"status {answer.status_code}")
            page = _PAGE.decode(_read(answer))
        if page.error is not None:
            note = f"{page.error.errorName}: {page.error.message}"
            raise Fault(_FINDINGS.get(page.error.errorName, Finding.STATEMENT_REFUSED), note)
        return page


def _read(answer: httpx.Response) -> bytes:
    read = bytearray()
    for part in answer.iter_bytes():
        read += part
        if len(read) > MAX_PAGE_BYTES:
            raise Fault(Finding.TOO_LARGE)
    return bytes(read)


def _next_path(url: str) -> str:
    """Return the path of the next page, whatever host it names; raise `Fault` outside of the protocol."""
    path = urlsplit(url).path
    if not path.startswith(f"{_PATH}/") or ".." in path or len(path) > 1000:
        raise Fault(Finding.OTHER_PROTOCOL, f"nextUri {path[:100]!r}")
    return path


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise Fault(Finding.TOO_SLOW, str(error)) from None
    except httpx.ConnectError as error:
        cause = error.__cause__ and error.__cause__.__cause__
        raise (
            tls_fault(cause)
            if isinstance(cause, ssl.SSLError)
            else Fault(Finding.CONNECTION_LOST, str(error))
        ) from None
    except (httpx.HTTPError, ValueError) as error:
        raise Fault(Finding.OTHER_PROTOCOL, str(error)) from None


ADAPTER = Trino()
