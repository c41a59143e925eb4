"""The verifier in your own process: a key or token in, a `Principal` out, in about a microsecond.

It reads the database of a Keyturn server, or follows the server's feed from anywhere, with the same rules
and the same bounds on staleness as the server itself. It needs no root key: it cannot issue anything.
"""

import asyncio
import os
import ssl
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Protocol, Self

from keyturn.core.dpop import PresentedProof
from keyturn.core.paths import RequestTarget
from keyturn.core.principal import Principal
from keyturn.core.scopes import NO_SCOPES, check_scopes, read_scopes
from keyturn.errors import CannotStart, CredentialRefused, KeyturnError, Reason, StoreUnavailable
from keyturn.opening import Opening

if TYPE_CHECKING:
    from keyturn.verifying.callers import UseContext
    from keyturn.verifying.origin import Origin

DEFAULT_MAX_STALENESS_SECONDS = 5.0
DEFAULT_FAILURES_PER_MINUTE = 120
MAX_STALENESS_SECONDS = 60.0
ANSWER_SECONDS = 4.5
"""How long a coroutine waits for the database."""
LOOKUP_THREADS = 8
"""As many as ask the database at once for coroutines; none of the application's."""
DEFAULT_TIMEOUT_SECONDS = 60.0


class _KnowsAudiences(Protocol):
    def scopes_of(self, audience: str) -> frozenset[str] | None: ...


class _Known(Protocol):
    @property
    def principal(self) -> Principal: ...


class _Authenticator(Protocol):
    @property
    def at(self) -> "Callable[[str], _Authenticator]": ...

    def recognise(self, value: bytes, trace: "UseContext", scopes: frozenset[str], /) -> _Known | None: ...

    def authenticate(
        self,
        authorization: Sequence[bytes],
        origin: "Origin",
        presented: PresentedProof | None,
        scopes: frozenset[str],
        /,
    ) -> Principal | None: ...


class _Verification(Protocol):
    """The verifying half, over a database, a copy, or introspection."""

    @property
    def authenticator(self) -> _Authenticator: ...

    @property
    def audiences(self) -> _KnowsAudiences: ...

    def start(self) -> None: ...

    def close(self) -> None: ...


class Verifier:
    """Verifies API keys and bearer tokens that a Keyturn server issued.

    Make one for a process and keep it: it remembers what it verified, follows every change, and notes when
    keys are used. Threads and coroutines may share it. In a child that a fork made it opens anew when it is
    first asked, and `close` closes what that child opened: the parent's threads and connections stay its own.

    With `audience`, the identifier of a registered API, only tokens for that API are good, and the `scopes`
    of the caller are always said in full.

    `address` is the `sqlite:///path` or `postgresql://…` of the server's database, or the `https://…` of the
    server itself, with a `key` whose owner holds the permission VERIFY_CREDENTIALS. Then it keeps a copy of
    all that decides, and asks nothing for each call. A revoke takes typically 20 ms; at most
    `max_staleness_seconds`: after so long without a word of the server everything is refused. It is ready
    when the copy is whole, within `timeout` seconds. `tls` is for a server with a private authority. Without
    `follow` it keeps no copy and asks the server about each credential (introspection).

    Raises `CannotStart` if the database or server cannot be opened. The server's settings are read at the
    start: open it anew after changing `KEYTURN_PUBLIC_URL`, `KEYTURN_KEY_PREFIX`, or how long tokens live.
    Signing keys are followed.
    """

    def __init__(
        self,
        address: str,
        key: str | None = None,
        *,
        audience: str | None = None,
        max_staleness_seconds: float = DEFAULT_MAX_STALENESS_SECONDS,
        failures_per_minute: int = DEFAULT_FAILURES_PER_MINUTE,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        tls: ssl.SSLContext | None = None,
        follow: bool = True,
    ) -> None:
        if not address.startswith(("sqlite:", "postgresql:", "postgres:", "https:", "http:")):
            raise CannotStart(
                "A Verifier is given sqlite:///path/to/file.db, postgresql://user@host/name or https://host."
            )
        if not 0 < max_staleness_seconds <= MAX_STALENESS_SECONDS:
            raise CannotStart(f"max_staleness_seconds is above 0 and at most {MAX_STALENESS_SECONDS:g}.")
        if failures_per_minute < 1:
            raise CannotStart("failures_per_minute is at least 1.")
        # Here, since importing Keyturn is quick for whoever only calls.
        from keyturn.verifying.origin import Origin  # noqa: PLC0415 - see above

        self._origin_of = Origin
        if address.startswith(("https:", "http:")):
            self._open_verification: Callable[[], _Verification] = lambda: _open_elsewhere(
                address, key, max_staleness_seconds, failures_per_minute, timeout, tls, follow=follow
            )
        else:
            self._open_verification = lambda: _open_here(address, max_staleness_seconds, failures_per_minute)
        self._audience = audience
        self._of_parents: tuple[object, ...] = ()
        self._is_closed = False
        self._closing = threading.Lock()
        self._verification: _Verification | None = None
        self._authenticator: _Authenticator
        self._recognise: Callable[[bytes, UseContext, frozenset[str]], _Known | None]
        self._threads = _new_threads()
        self._open()
        itself = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _leave_to_parent(itself()))

    def _open(self) -> None:
        """Begin to verify, in the process that asks for it."""
        verification = self._open_verification()
        try:
            authenticator = _judge_of(verification, self._audience)
        except BaseException:
            verification.close()
            raise
        verification.start()
        with self._closing:
            if not self._is_closed:
                self._verification, self._authenticator = verification, authenticator
                self._recognise = authenticator.recognise
                return
        verification.close()
        raise StoreUnavailable(_IS_CLOSED)

    def verify(
        self,
        authorization: str | bytes | None,
        *,
        source: str | None = None,
        scopes: Iterable[str] = (),
        dpop: PresentedProof | None = None,
        method: str | None = None,
        path: str | Sequence[str] | None = None,
    ) -> Principal:
        """Return who calls with this value of the `Authorization` header.

        `source` is the client's address: keys that are bound to networks need it, and wrong credentials are
        counted by it. `scopes` are what the call needs: a credential that is not narrowed covers all. `dpop`
        is the proof that came with a credential that is bound to a key pair (RFC 9449); without it that is
        refused. A proof is good once in this process; another process that verifies takes it once too.

        `method` and `path` are those of the request, the path as the client sent it and without its query:
        keys that are restricted to methods or paths need them both. Give several paths where it is read in
        more than one way, as below a mount: then all of them must be allowed.

        Blocks for a look into the database when the credential is not remembered: in a coroutine use
        `verify_async`.

        Raises:
            CredentialRefused: nobody may pass; its `reason` says why, for the log and not for the client.
            DpopProofRefused: the proof is none, or for another request, or was used before.
            AmbiguousCredential: there are two proofs.
            TooBusy: so many proofs were used that there is no room for another.
            ScopeMissing: the credential is good, and too narrow.
            TooManyFailures: wait `retry_after` seconds.
            UnknownAudience: the API that this was opened for is registered no more.
            StoreUnavailable: nothing can be known now; and always once this is closed.
        """
        value = authorization if type(authorization) is bytes else _as_bytes(authorization)
        needed = read_scopes(scopes) if scopes else NO_SCOPES
        known = self._recognise(value, (source, None, None, None), needed)
        if known is not None:
            return known.principal
        try:
            origin = self._origin_of(address=source, target=_target_of(method, path))
            principal = self._authenticator.authenticate([value], origin, dpop, needed)
        except Exception as error:
            if self._is_closed and not isinstance(error, KeyturnError):  # Its connections were taken from it.
                raise StoreUnavailable(_IS_CLOSED) from error
            raise
        if principal is None:
            raise CredentialRefused(Reason.MISSING)
        check_scopes(principal, needed)
        return principal

    async def verify_async(
        self,
        authorization: str | bytes | None,
        *,
        source: str | None = None,
        scopes: Iterable[str] = (),
        dpop: PresentedProof | None = None,
        method: str | None = None,
        path: str | Sequence[str] | None = None,
    ) -> Principal:
        """Do what `verify` does, with any look into the database in a thread of the verifier's own.

        Raises `StoreUnavailable` too when there is no answer within `ANSWER_SECONDS`.
        """
        value = _as_bytes(authorization)
        needed = read_scopes(scopes) if scopes else NO_SCOPES
        known = self._recognise(value, (source, None, None, None), needed)
        if known is not None:
            return known.principal
        verify = partial(
            self.verify, value, source=source, scopes=needed, dpop=dpop, method=method, path=path
        )
        try:
            asked = asyncio.wrap_future(self._threads.submit(verify))
        except RuntimeError:  # Closed since, or the program ends.
            raise StoreUnavailable(_IS_CLOSED) from None
        try:
            return await asyncio.wait_for(asked, ANSWER_SECONDS)
        except TimeoutError:
            raise StoreUnavailable("the database does not answer") from None

    def close(self) -> None:
        """Write the uses that are only noted yet, and close the database: nobody passes from now on.

        Once is enough, and more does no harm.
        """
        with self._closing:
            self._is_closed = True
            self._authenticator, self._recognise = _CLOSED, _CLOSED.recognise
            verification, self._verification = self._verification, None
        self._threads.shutdown(wait=False)  # What waits for its turn finds it closed.
        if verification is not None:  # None in a child that has not asked anything.
            verification.close()

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


def _target_of(method: str | None, path: str | Sequence[str] | None) -> RequestTarget | None:
    """Return the request that is judged for; None unless both are known."""
    if method is None or path is None:
        return None
    return RequestTarget(method, (path,) if isinstance(path, str) else tuple(path))


def _new_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(LOOKUP_THREADS, "keyturn-verifier")


def _judge_of(verification: _Verification, audience: str | None) -> _Authenticator:
    if audience is None:
        return verification.authenticator
    if verification.audiences.scopes_of(audience) is None:
        raise CannotStart(f"No service with the identifier {audience} is registered on this server.")
    return verification.authenticator.at(audience)


def _open_here(database: str, max_staleness_seconds: float, failures_per_minute: int) -> _Verification:
    try:
        from keyturn.composition import open_verification  # noqa: PLC0415
    except ImportError as error:
        raise CannotStart(
            f"Verifying from a database needs {error.name}: install keyturn[server]."
        ) from error
    return open_verification(
        database, max_staleness_seconds=max_staleness_seconds, failures_per_minute=failures_per_minute
    )


def _open_elsewhere(
    url: str,
    key: str | None,
    max_staleness_seconds: float,
    failures_per_minute: int,
    timeout: float,
    tls: ssl.SSLContext | None,
    *,
    follow: bool,
) -> _Verification:
    if not key:
        raise CannotStart("A Verifier of a server elsewhere is given a key of that server too.")
    # Here, since who verifies over a database needs none of it, and importing it takes its time.
    from keyturn.replica.compose import open_elsewhere  # noqa: PLC0415 - see above
    from keyturn.replica.follower import Timeouts  # noqa: PLC0415 - see above

    return open_elsewhere(
        url,
        key,
        max_staleness_seconds=max_staleness_seconds,
        failures_per_minute=failures_per_minute,
        timeouts=Timeouts(start=timeout),
        tls=tls,
        follow=follow,
    )


class _Closed:
    """Stands for the authenticator once the verifier is closed: nothing that was remembered is good."""

    @property
    def at(self) -> "Callable[[str], _Authenticator]":
        raise AssertionError("nobody asks this of one that is closed")

    def recognise(self, _value: bytes, _trace: "UseContext", _scopes: frozenset[str], /) -> NoReturn:
        """Raise `StoreUnavailable`."""
        raise StoreUnavailable(_IS_CLOSED)

    def authenticate(
        self,
        _authorization: Sequence[bytes],
        _origin: "Origin",
        _presented: PresentedProof | None,
        _scopes: frozenset[str],
        /,
    ) -> NoReturn:
        """Raise `StoreUnavailable`, for who was on the way when it closed."""
        raise StoreUnavailable(_IS_CLOSED)


_IS_CLOSED = "the verifier is closed"
_CLOSED = _Closed()


class _OpensInChild:
    """Stands for the authenticator in a child that a fork made, until somebody asks."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._opening = Opening(verifier._open)  # noqa: SLF001 - the class's other half

    @property
    def at(self) -> "Callable[[str], _Authenticator]":
        raise AssertionError("nobody asks this of one that is not open")

    def recognise(self, _value: bytes, _trace: "UseContext", _scopes: frozenset[str], /) -> None:
        """Remember nothing, so that `authenticate` is asked: in a thread, where the caller is a coroutine."""

    def authenticate(
        self,
        authorization: Sequence[bytes],
        origin: "Origin",
        presented: PresentedProof | None,
        scopes: frozenset[str],
        /,
    ) -> Principal | None:
        """Ask the verifier, once it is open; raise `StoreUnavailable` while it is not."""
        self._opening.get()
        return self._verifier._authenticator.authenticate(  # noqa: SLF001 - as above
            authorization, origin, presented, scopes
        )


def _leave_to_parent(verifier: Verifier | None) -> None:
    """Make the copy that a fork made open anew: its threads and connections are the parent's.

    They are kept and never touched. A lock among them may have been held by a thread that the child does not
    have, and what ends a connection would end the parent's.
    """
    if verifier is None:
        return
    verifier._of_parents += (  # noqa: SLF001 - as above
        verifier._verification,  # noqa: SLF001
        verifier._authenticator,  # noqa: SLF001
        verifier._threads,  # noqa: SLF001
        verifier._closing,  # noqa: SLF001
    )
    verifier._threads, verifier._closing = _new_threads(), threading.Lock()  # noqa: SLF001
    stands_in = _CLOSED if verifier._is_closed else _OpensInChild(verifier)  # noqa: SLF001
    verifier._authenticator, verifier._recognise = stands_in, stands_in.recognise  # noqa: SLF001
    verifier._verification = None  # noqa: SLF001


def _as_bytes(authorization: str | bytes | None) -> bytes:
    """Return the header's bytes, which frameworks show as text; raise `CredentialRefused` without any."""
    if not authorization:
        raise CredentialRefused(Reason.MISSING)
    if isinstance(authorization, bytes):
        return authorization
    return authorization.encode("utf-8", "surrogatepass")
