"""The verifier in your own process: a key or token in, a `Principal` out, in about a microsecond.

It reads the database of a Keyturn server, with the same rules and the same bounds on staleness as the
server itself, and needs no root key: it cannot issue anything.
"""

import asyncio
import os
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from keyturn.core.principal import Principal
from keyturn.core.scopes import check_scopes
from keyturn.errors import CannotStart, CredentialRefused, Reason

if TYPE_CHECKING:
    from keyturn.services.usage import Trace
    from keyturn.services.verification_index import KnownCredential

DEFAULT_MAX_STALENESS_SECONDS = 5.0
DEFAULT_FAILURES_PER_MINUTE = 120
MAX_STALENESS_SECONDS = 60.0


class Verifier:
    """Verifies API keys and bearer tokens that a Keyturn server issued.

    Make one for a process and keep it: it remembers what it verified, follows every change, and notes when
    keys are used. Threads and coroutines may share it. A process that forks opens its own in the child.

    `database` is the `sqlite:///path` or `postgresql://…` of the server. Raises `CannotStart` if it cannot
    be opened, or no server ever ran on it. The server's settings are read at the start: open it anew after
    changing `KEYTURN_PUBLIC_URL`, `KEYTURN_KEY_PREFIX`, or how long tokens live. Signing keys are followed.
    """

    def __init__(
        self,
        database: str,
        *,
        max_staleness_seconds: float = DEFAULT_MAX_STALENESS_SECONDS,
        failures_per_minute: int = DEFAULT_FAILURES_PER_MINUTE,
    ) -> None:
        if not database.startswith(("sqlite:", "postgresql:", "postgres:")):
            raise CannotStart("A Verifier is given sqlite:///path/to/file.db or postgresql://user@host/name.")
        if not 0 < max_staleness_seconds <= MAX_STALENESS_SECONDS:
            raise CannotStart(f"max_staleness_seconds is above 0 and at most {MAX_STALENESS_SECONDS:g}.")
        if failures_per_minute < 1:
            raise CannotStart("failures_per_minute is at least 1.")
        try:
            # Here, since the calling side of Keyturn is installed without a database.
            from keyturn.composition import open_verification  # noqa: PLC0415
            from keyturn.services.audit import Origin  # noqa: PLC0415
        except ImportError as error:
            raise CannotStart(
                f"Verifying from a database needs {error.name}: install keyturn[server]."
            ) from error
        self._origin_of = Origin
        self._verification = open_verification(
            database, max_staleness_seconds=max_staleness_seconds, failures_per_minute=failures_per_minute
        )
        self._recognise: Callable[[bytes, Trace], KnownCredential | None] = (
            self._verification.authenticator.recognise
        )
        self._verification.start()
        itself = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _end_in_child(itself()))

    def verify(
        self, authorization: str | bytes | None, *, source: str | None = None, scopes: Iterable[str] = ()
    ) -> Principal:
        """Return who calls with this value of the `Authorization` header.

        `source` is the client's address: keys that are bound to networks need it, and wrong credentials are
        counted by it. `scopes` are what the call needs: a credential that is not narrowed covers all.

        Blocks for a look into the database when the credential is not remembered: in a coroutine use
        `verify_async`.

        Raises:
            CredentialRefused: nobody may pass; its `reason` says why, for the log and not for the client.
            ScopeMissing: the credential is good, and too narrow.
            TooManyFailures: wait `retry_after` seconds.
            StoreUnavailable: nothing can be known now.
        """
        value = authorization if type(authorization) is bytes else _as_bytes(authorization)
        known = self._recognise(value, (source, None, None, None))
        if known is not None:
            if scopes:
                check_scopes(known.principal, scopes)
            return known.principal
        principal = self._verification.authenticator.authenticate([value], self._origin_of(address=source))
        if principal is None:
            raise CredentialRefused(Reason.MISSING)
        check_scopes(principal, scopes)
        return principal

    async def verify_async(
        self, authorization: str | bytes | None, *, source: str | None = None, scopes: Iterable[str] = ()
    ) -> Principal:
        """Do what `verify` does, with any look into the database in a thread."""
        value = _as_bytes(authorization)
        known = self._recognise(value, (source, None, None, None))
        if known is not None:
            if scopes:
                check_scopes(known.principal, scopes)
            return known.principal
        return await asyncio.to_thread(self.verify, value, source=source, scopes=scopes)

    def close(self) -> None:
        """Write the uses that are only noted yet, and close the database."""
        self._verification.close()

    def __enter__(self) -> Self:
        """Return the verifier itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def _end_in_child(verifier: Verifier | None) -> None:
    """Make the copy that a fork made refuse to work: its threads and connections are the parent's."""
    if verifier is not None:
        verifier._recognise = _refuse_in_child  # noqa: SLF001 - the class's other half
        verifier.close = _nothing_to_close  # type: ignore[method-assign]  # for this copy alone


def _nothing_to_close() -> None:
    """Leave the parent's threads, connections and notes to the parent."""


def _refuse_in_child(_value: bytes, _trace: object) -> None:
    raise CannotStart("This verifier was opened before the process forked: open one in the child instead.")


def _as_bytes(authorization: str | bytes | None) -> bytes:
    """Return the header's bytes, which frameworks show as text; raise `CredentialRefused` without any."""
    if not authorization:
        raise CredentialRefused(Reason.MISSING)
    if isinstance(authorization, bytes):
        return authorization
    return authorization.encode("utf-8", "surrogatepass")
