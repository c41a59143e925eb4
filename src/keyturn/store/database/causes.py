"""Why a database fails, in a word for machines and in words for people.

A driver's own text may hold parameters or the address of the database: it goes nowhere.
"""

from sqlalchemy.exc import IntegrityError

LOCKED, UNREACHABLE = "locked", "unreachable"

_SQLITE_CAUSES = {5: LOCKED, 6: LOCKED, 8: "read-only", 10: "EIO", 11: "corrupt", 13: "ENOSPC", 14: "EIO"}
"""By SQLite's primary result codes."""
_POSTGRESQL_CAUSES = {
    "53100": "ENOSPC",
    "58030": "EIO",
    "25006": "read-only",
    "55P03": LOCKED,
    "57014": "slow",
}
"""By SQLSTATE."""
_TRANSIENT_CLASSES = frozenset({"21", "22", "23", "40", "42"})
"""Of SQLSTATE: a fault of one statement, which says nothing of the next one."""

_WORDS = {
    LOCKED: "another process holds its lock",
    UNREACHABLE: "it does not answer",
    "read-only": "it is read-only for this user, or its file system is",
    "EIO": "its disk fails, or a quota or a limit on files is reached",
    "corrupt": "its file is corrupt",
    "ENOSPC": "the disk is full",
    "slow": "it took too long",
}


def cause_of(error: BaseException) -> str | None:
    """Return what keeps the database from working, None if the error is of this one statement alone.

    For errors of SQLAlchemy and of the drivers.
    """
    driver_error = getattr(error, "orig", error)
    if isinstance(error, IntegrityError):
        return None
    if (code := getattr(driver_error, "sqlite_errorcode", None)) is not None:
        return _SQLITE_CAUSES.get(code & 0xFF)
    sqlstate = getattr(driver_error, "sqlstate", None)
    if sqlstate is None:
        return UNREACHABLE
    return _POSTGRESQL_CAUSES.get(sqlstate, None if sqlstate[:2] in _TRANSIENT_CLASSES else UNREACHABLE)


def why(error: BaseException) -> str:
    """Say why the database could not do what it was asked, for people: no capital and no stop."""
    return f"the database cannot be used: {described(cause_of(error))}"


def described(cause: str | None) -> str:
    """Say a cause in words, and the word for machines where it is another one."""
    if cause is None:
        return "it refused a statement"
    words = _WORDS.get(cause, cause)
    return f"{words} ({cause})" if cause in {"ENOSPC", "EIO"} else words
