"""The way from a name to a session, a step at a time: what a test shows, and how a crawl begins.

resolve ─ address ─ tcp ─ tls ─ login ─ database ─ list ─ version
"""

import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from keyturn.adapters.adapter import Adapter, Session, Target, open_adapter
from keyturn.adapters.addresses import AddressPolicy, Forbidden, Resolver, resolve
from keyturn.adapters.findings import STEP_OF, TEXTS, Fault, Finding, State, Step
from keyturn.adapters.limits import Limits
from keyturn.adapters.technologies import BY_NAME
from keyturn.adapters.tls import client_context, shake_hands, tls_fault
from keyturn.adapters.validation import Value
from keyturn.core.networks import Address
from keyturn.core.shown import shown

STEPS = tuple(Step)
_MAX_VERSION = 100


class StepResult(msgspec.Struct, frozen=True, tag=True):
    """How one step ended."""

    step: Step
    state: State
    milliseconds: int = 0
    finding: Finding | None = None
    detail: str = ""
    """Words for people: the finding's text, or what the step found. Names from the server are cut."""
    note: str = ""
    """For the log: the words of the driver. They hold no secret once `redacted` was called."""


def failure(step: Step, fault: Fault, milliseconds: int = 0) -> StepResult:
    """Return the end of a step that failed."""
    words = " ".join(filter(None, (TEXTS[fault.finding], fault.detail)))
    return StepResult(step, State.FAILED, milliseconds, fault.finding, words, fault.note)


def _unheard(step: Step) -> None:
    """Tell nobody that a step begins."""


@dataclass
class Ladder:
    """One attempt to reach a database. Once the step `LOGIN` succeeded, `session` is open."""

    values: dict[str, Value] = field(repr=False)
    policy: AddressPolicy
    resolver: Resolver
    limits: Limits
    session: Session | None = field(init=False, default=None)
    _target: Target = field(init=False, repr=False)
    _adapter: Adapter = field(init=False, repr=False)
    _context: ssl.SSLContext | None = field(init=False, default=None)
    _addresses: tuple[Address, ...] = field(init=False, default=())
    _later: Fault | None = field(init=False, default=None)
    """A fault that belongs to a later step: a driver had taken several at once."""

    def climb(
        self, begun: Callable[[Step], None] = _unheard, *, last: Step = Step.VERSION
    ) -> Iterator[StepResult]:
        """Take each step up to `last`, after a call of `begun`; once one fails, the rest is skipped."""
        has_failed = False
        for step in STEPS[: STEPS.index(last) + 1]:
            if has_failed:
                yield StepResult(step, State.SKIPPED)
                continue
            begun(step)
            result = self._take(step)
            has_failed = result.state is State.FAILED
            yield result

    def get_session(self, begun: Callable[[Step], None] = _unheard) -> Session:
        """Return the session with the database open; raise `Fault` of the first step that fails."""
        for result in self.climb(begun, last=Step.DATABASE):
            if result.finding is not None:
                raise Fault(result.finding, result.note)
        if self.session is None:
            raise Fault(Finding.FAILED)
        return self.session

    def close(self) -> None:
        """End the session, if there is one."""
        if self.session is not None:
            self.session.close()

    def _take(self, step: Step) -> StepResult:
        before = time.monotonic()
        try:
            detail = self._act(step)
        except Fault as fault:
            if STEPS.index(STEP_OF.get(fault.finding, step)) <= STEPS.index(step):
                return failure(step, fault, _since(before))
            self._later, detail = fault, ""
        if detail is None:
            return StepResult(step, State.SKIPPED)
        return StepResult(step, State.OK, _since(before), None, detail)

    def _act(self, step: Step) -> str | None:
        """Return words about what a step found, None if there is nothing to do; raise `Fault`."""
        if self._later is not None:
            raise self._later
        with faults():
            match step:
                case Step.RESOLVE:
                    return self._resolve()
                case Step.ADDRESS:
                    self._check_addresses()
                case Step.TCP:
                    return self._connect()
                case Step.TLS:
                    return self._secure()
                case Step.LOGIN:
                    self.session = self._adapter.login(self._target, self._context)
                case _:
                    return self._use(step)
        return ""

    def _use(self, step: Step) -> str:
        if self.session is None:
            raise Fault(Finding.FAILED)
        match step:
            case Step.DATABASE:
                self.session.open_database()
                return ""
            case Step.LIST:
                return _counted(self.session.count_schemas())
            case _:
                return shown(" ".join(self.session.version()[:_MAX_VERSION].split()))

    def _resolve(self) -> str:
        try:
            self._addresses = resolve(str(self.values["hostname"]), self.resolver)
        except (OSError, UnicodeError, ValueError) as error:
            raise Fault(Finding.UNKNOWN_NAME, str(error)) from None
        return str(self._addresses[0])

    def _check_addresses(self) -> None:
        try:
            for address in self._addresses:
                self.policy.check(address, int(str(self.values["port"])))
        except Forbidden as error:
            detail = f"The address is {error.kind}."
            raise Fault(Finding.FORBIDDEN_ADDRESS, str(error), detail=detail) from None

    def _connect(self) -> str:
        """Find the first address that answers: one of a name may have no route from here."""
        technology = BY_NAME[str(self.values["technology"])]
        for address in self._addresses:
            self._target = Target(technology, self.values, address, self.limits)
            try:
                self._target.open_socket(self.limits.step / len(self._addresses)).close()
            except OSError:
                if address == self._addresses[-1]:
                    raise
            else:
                break
        return str(self._target.address)

    def _secure(self) -> str | None:
        target = self._target
        self._adapter = open_adapter(target.technology)
        self._context = client_context(target.tls_mode, target.text("tlsCertificate") or None)
        if self._context is None:
            return None
        with target.open_socket() as plain:
            handshake = shake_hands(plain, self._adapter.begin_tls, self._context, target.host)
        return f"{handshake}{_until(handshake.expires)}"


@contextmanager
def faults() -> Iterator[None]:
    """Raise `Fault` for errors of the network and of memory in the block."""
    try:
        yield
    except ssl.SSLError as error:
        raise tls_fault(error) from None
    except OSError as error:
        raise network_fault(error) from None
    except MemoryError:
        raise Fault(Finding.TOO_LARGE) from None


def network_fault(error: OSError) -> Fault:
    """Return what is wrong, of an error of the network."""
    match error:
        case ConnectionRefusedError():
            return Fault(Finding.PORT_CLOSED, str(error))
        case TimeoutError():
            return Fault(Finding.TOO_SLOW, str(error))
        case ConnectionError():
            return Fault(Finding.CONNECTION_LOST, str(error))
        case _:
            return Fault(Finding.UNREACHABLE, str(error))


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return a text for the log without the secrets, in any spelling that a driver gives to them."""
    for secret in sorted(secrets, key=len, reverse=True):
        for spelling in {secret, repr(secret)[1:-1], repr(secret.encode())[2:-1], quote(secret, safe="")}:
            text = text.replace(spelling, "[REDACTED]")
    return text


def _since(before: float) -> int:
    return round((time.monotonic() - before) * 1000)


def _counted(schemas: int) -> str:
    if schemas == 0:
        raise Fault(Finding.NOTHING_SEEN)
    return "1 schema" if schemas == 1 else f"{schemas:,} schemas"


def _until(seconds: int | None) -> str:
    if seconds is None:
        return ""
    return f", valid until {datetime.fromtimestamp(seconds, UTC):%b %d, %Y}".replace(" 0", " ")
