"""Engines: how each database is opened, and what must be true before it is used.

A write that was acknowledged survives a power cut only if the database flushes at commit. That, and whatever
else a transaction depends on, is read back and asserted here, never assumed.
"""

from sqlalchemy import Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from keyturn.errors import CannotStart
from keyturn.store.database.causes import cause_of, described
from keyturn.store.database.postgresql import (
    LIMITS,
    WRITES,
    WRONG_ADDRESS,
    TransactionLimits,
    check_postgresql,
    open_postgresql,
    read_address,
    why_refused,
)
from keyturn.store.database.sqlite import (
    check_sqlite,
    check_version,
    file_of,
    is_missing,
    open_sqlite,
    open_writer,
    sqlite_path,
)

HOW_TO_BEGIN = (
    "to begin a new installation there, run `keyturn serve --new-installation` "
    "(KEYTURN_NEW_INSTALLATION=true) or `keyturn admin upgrade`"
)

_SECRET_PARAMETERS = frozenset({"password", "sslpassword"})


def open_engine(database: str, *, must_exist: bool = False, limits: TransactionLimits = LIMITS) -> Engine:
    """Open `sqlite:///path` or `postgresql://…`; raise `CannotStart` saying what to do when that fails.

    The file of an SQLite database and its folder are made when missing, unless it `must_exist`, readable by
    their owner alone. `limits` are those of PostgreSQL's transactions.
    """
    engine = _engine_of(database, limits, must_exist=must_exist)
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                check_sqlite(connection)
            else:
                check_postgresql(connection, limits)
    except DBAPIError as error:
        engine.dispose()
        if error.orig is not None and (sentence := why_refused(error.orig)) is not None:
            raise CannotStart(f"The database {describe(engine.url)} cannot be opened. {sentence}") from None
        # The driver's text may hold the address and the password: its cause or SQL state says enough.
        detail = getattr(error.orig, "sqlstate", None) or described(cause_of(error))
        raise CannotStart(
            f"The database {describe(engine.url)} cannot be opened ({detail}): "
            "check that it exists, that this user may write to it, and that it is reachable."
        ) from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def writer_of(engine: Engine) -> Engine:
    """Return the engine for transactions that write."""
    file = file_of(engine)
    return engine if file is None else open_writer(file)


def pool_beside(engine: Engine) -> Engine:
    """Return the same engine with connections of its own, opened when they are needed.

    For questions of a thread that holds a connection already: where all of the pool are held by threads that
    wait for it, it would wait for them.
    """
    beside = Engine(engine.pool.recreate(), engine.dialect, engine.url, hide_parameters=True)
    # One statement sees one committed state by itself: a transaction around it would be two more journeys.
    return beside.execution_options(isolation_level="AUTOCOMMIT")


def describe(url: URL) -> str:
    """Name a database without its password."""
    if url.get_backend_name() == "sqlite":
        return url.database or "in memory"
    host = url.host or "localhost"
    if url.port is not None:
        host += f":{url.port}"
    return f"{host}/{url.database}" if url.database else host


def has_password(database: str) -> bool:
    """Return whether an address holds a password; False for one that cannot be read."""
    if not database.startswith("postgres"):
        return False
    try:
        return bool(_SECRET_PARAMETERS & read_address(database).keys())
    except CannotStart:
        return False


def _engine_of(database: str, limits: TransactionLimits, *, must_exist: bool) -> Engine:
    scheme = database.partition(":")[0].partition("+")[0]
    if scheme == "sqlite":
        check_version()
        path = sqlite_path(database)
        if path is None or str(path) == ":memory:":
            raise CannotStart("An SQLite database needs a file: sqlite:///path/to/file.db.")
        if must_exist and is_missing(path):
            raise CannotStart(f"There is no database {path}: check its address; {HOW_TO_BEGIN}.")
        return open_sqlite(path)
    if scheme in {"postgresql", "postgres"} and "://" in database:
        return open_postgresql(database, limits)
    raise CannotStart(WRONG_ADDRESS)


__all__ = ["WRITES", "describe", "has_password", "open_engine", "sqlite_path", "writer_of"]
