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
    from keyturn.services.verification_index import KnownCredential

DEFAULT_MAX_STALENESS_SECONDS = 5.0
DEFAULT_FAILURES_PER_MINUTE = 120


class Verifier:
    """Verifies API keys and bearer tokens that a Keyturn server issued.

    Make one for a process and keep it: it remembers what it verified, follows every change, and notes when
    keys are used. Threads and coroutines may share it. A process that forks opens its own in the child.

    `database` is the `sqlite:///path` or `postgresql://…` of the server. Raises `CannotStart` if it cannot
    be opened, or no server ever ran on it.
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
        self._recognise: Callable[[bytes], KnownCredential | None] = (
            self._verification.authenticator.recognise
        )
        self._timestamp = self._verification.system.timestamp
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
        value = _as_bytes(authorization)
        known = self._recognise(value)
        if known is not None:
            return self._accepted(known, source, scopes)
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
        known = self._recognise(value)
        if known is not None:
            return self._accepted(known, source, scopes)
        return await asyncio.to_thread(self.verify, value, source=source, scopes=scopes)

    def _accepted(self, known: "KnownCredential", source: str | None, scopes: Iterable[str]) -> Principal:
        use = known.subject.use
        if use is not None:
            use.note(self._timestamp(), (source, None, None, None))
        if scopes:
            check_scopes(known.principal, scopes)
        return known.principal

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


def _refuse_in_child(_value: bytes) -> None:
    raise CannotStart("This verifier was opened before the process forked: open one in the child instead.")


def _as_bytes(authorization: str | bytes | None) -> bytes:
    """Return the header's bytes, which frameworks show as text; raise `CredentialRefused` without any."""
    if not authorization:
        raise CredentialRefused(Reason.MISSING)
    if isinstance(authorization, bytes):
        return authorization
    return authorization.encode("utf-8", "surrogatepass")
