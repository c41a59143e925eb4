"""The test of a connection: a step at a time, from its name to its schemas (rules O3 to O6)."""

from collections.abc import Iterator
from contextlib import ExitStack
from threading import BoundedSemaphore

import structlog

from keyturn.adapters import target_process
from keyturn.adapters.findings import State, Step
from keyturn.adapters.ladder import StepResult
from keyturn.adapters.tasks import Action, StepBegun
from keyturn.adapters.validation import Value
from keyturn.core.connections import ConnectionRecord
from keyturn.core.principal import Principal
from keyturn.errors import RateLimit, TooBusy
from keyturn.services.connections.password_rotation import PasswordRotation
from keyturn.services.connections.registry import ChangedConnection, Connections
from keyturn.services.connections.sealing import merged
from keyturn.services.connections.targets import Targets
from keyturn.store import Store
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of
from keyturn.verifying.rate_limit import RateLimiter

AT_ONCE = 4
"""So many tests at once in this process, each of which is a process of its own."""
PER_MINUTE = 20
"""By one user: a test is a scanner of ports to whoever may test anything (O6)."""

_log = structlog.get_logger()


class Checks:
    """Tests connections, for those who manage them."""

    def __init__(
        self,
        store: Store,
        registry: Connections,
        targets: Targets,
        rotation: PasswordRotation,
        system: System,
    ) -> None:
        self._store = store
        self._registry = registry
        self._rotation = rotation
        self._targets = targets
        self._turns = BoundedSemaphore(AT_ONCE)
        self._limit = RateLimiter(
            PER_MINUTE,
            system,
            refusal="You tested many connections: wait {wait} before the next.",
            limit=RateLimit.CONNECTION_TESTS,
        )

    def test(
        self, principal: Principal, connection_key: str, origin: Origin
    ) -> Iterator[StepBegun | StepResult]:
        """Return the steps of a test, as they begin and as they end. The connection keeps how it ended."""
        record = self._registry.get_managed(principal, connection_key)
        values = self._rotation.settle(record, actor_of(principal, origin))
        return self._run(principal, values, record)

    def try_out(
        self, principal: Principal, connection_key: str, wanted: ChangedConnection
    ) -> Iterator[StepBegun | StepResult]:
        """Return the steps of a test of what a connection would be. Nothing is kept of it."""
        record = self._registry.get_managed(principal, connection_key)
        plain, entered = self._registry.checked(record, wanted)
        secrets = self._targets.secrets.open(record).current if entered is None else entered
        return self._run(principal, merged(plain, secrets), None)

    def _run(
        self, principal: Principal, values: dict[str, Value], record: ConnectionRecord | None
    ) -> Iterator[StepBegun | StepResult]:
        self._limit.note(str(principal.acting_user_id))
        return self._steps(values, record)

    def _steps(
        self, values: dict[str, Value], record: ConnectionRecord | None
    ) -> Iterator[StepBegun | StepResult]:
        with ExitStack() as turn:
            if not self._turns.acquire(timeout=0.5):
                raise TooBusy("Other connections are tested now: try again.", retry_after=5)
            turn.callback(self._turns.release)
            failed: StepResult | None = None
            for message in target_process.test(self._targets.task(Action.TEST, values)):
                if isinstance(message, StepResult) and message.state is State.FAILED:
                    failed = message
                    _log.info(
                        "connection_test_failed",
                        connection=None if record is None else record.connection_key,
                        step=message.step.value,
                        finding=None if message.finding is None else message.finding.value,
                        note=message.note,
                    )
                yield message
        if record is not None:
            self._store.connections.note_health(record.connection_id, problem_of(failed))


def problem_of(failed: StepResult | None) -> str | None:
    """Return what is wrong with a connection, in words, None for nothing."""
    return None if failed is None else f"{STEP_WORDS[failed.step]}: {failed.detail}"


STEP_WORDS = {
    Step.RESOLVE: "Look up the host",
    Step.ADDRESS: "Check the address",
    Step.TCP: "Connect",
    Step.TLS: "Encrypt",
    Step.LOGIN: "Sign in",
    Step.DATABASE: "Open the database",
    Step.LIST: "List schemas",
    Step.VERSION: "Read the version",
}
"""The steps, as people read them."""
