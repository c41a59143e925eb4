"""Rotating the password of a connection's account, to one that nobody has seen.

    seal old and new ──▶ change it there, and try it ──▶ seal the one that works

Both are stored before anything changes, so a process that is killed at any moment leaves one that works
among them; `settle` finds out which before the connection is next used.
"""

import secrets
import string
from dataclasses import dataclass

import structlog

from keyturn.adapters import target_process
from keyturn.adapters.findings import State, Step
from keyturn.adapters.ladder import StepResult
from keyturn.adapters.target_process import Rotation
from keyturn.adapters.tasks import Action
from keyturn.adapters.technologies import BY_NAME
from keyturn.adapters.validation import Value
from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.connections import ConnectionRecord
from keyturn.errors import InvalidInput, InvalidState
from keyturn.services.connections.sealing import ConnectionSecrets, OpenedSecrets
from keyturn.services.connections.targets import Targets
from keyturn.store import Store
from keyturn.system import System

ALPHABET = string.ascii_letters + string.digits
CHARACTERS = 40
"""238 bits, in letters that no server has to quote."""

NEITHER_WORKS = (
    "Neither the password from before the last rotation nor the new one works. Enter the right one."
)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rotated:
    """How a rotation ended."""

    is_changed: bool
    reason: str | None
    """Why nothing was changed."""


class PasswordRotation:
    """Rotates passwords, and finds out which works after a rotation that broke off.

    To be called by the one job that holds the connection, but for `settle`.
    """

    def __init__(self, store: Store, sealing: ConnectionSecrets, targets: Targets, system: System) -> None:
        self._store = store
        self._sealing = sealing
        self._targets = targets
        self._system = system

    @staticmethod
    def check_can_rotate(record: ConnectionRecord) -> None:
        """Raise `InvalidInput` where the password is not one that is changed from here."""
        technology = BY_NAME.get(record.technology)
        signs_in_by_password = record.details.get("authenticationType", "userPassword") == "userPassword"
        if technology is None or not technology.rotates or not signs_in_by_password:
            raise InvalidInput(
                "technology", f"Keyturn does not rotate passwords of {record.technology}: change it there."
            )

    def rotate(self, record: ConnectionRecord, actor: Actor) -> Rotated:
        """Give the account a new password; raise `InvalidState` if neither password works afterwards."""
        self.check_can_rotate(record)
        values = self.settle(record, actor)
        new = "".join(secrets.choice(ALPHABET) for _ in range(CHARACTERS))
        current = self._sealing.open(record).current
        self._keep(record, OpenedSecrets(current, new), actor, "begun")
        outcome, failed = target_process.rotate(self._targets.task(Action.ROTATE, values, new_password=new))
        if failed is not None:
            _log.info("connection_rotation_failed", connection=record.connection_key, note=failed.note)
        if outcome is Rotation.UNKNOWN:
            is_changed = self.settle(record, actor)["password"] == new
        else:
            is_changed = outcome is Rotation.CHANGED
            works = {**current, "password": new} if is_changed else current
            self._keep(record, OpenedSecrets(works), actor, "changed" if is_changed else "unchanged")
        return Rotated(is_changed, None if is_changed or failed is None else failed.detail)

    def settle(self, record: ConnectionRecord, actor: Actor) -> dict[str, Value]:
        """Return all values of a connection with the password that works.

        That costs a test where a rotation broke off. Raise `InvalidState` if it cannot be told.
        """
        values, opened = self._targets.values_of(record), self._sealing.open(record)
        if opened.next_password is None:
            return values
        for password in (opened.next_password, str(opened.current["password"])):
            tried = {**values, "password": password}
            if self._signs_in(tried):
                works = OpenedSecrets({**opened.current, "password": password})
                self._keep(record, works, actor, "settled")
                return tried
        self._store.connections.note_health(record.connection_id, NEITHER_WORKS)
        raise InvalidState(NEITHER_WORKS)

    def _signs_in(self, values: dict[str, Value]) -> bool:
        return any(
            isinstance(message, StepResult) and message.step is Step.LOGIN and message.state is State.OK
            for message in target_process.test(self._targets.task(Action.TEST, values))
        )

    def _keep(self, record: ConnectionRecord, kept: OpenedSecrets, actor: Actor, step: str) -> None:
        """Store secrets; raise `ChangedMeanwhile` if somebody entered others since they were opened."""
        audit = AuditEntry(
            self._system.now(),
            AuditAction.CONNECTION_PASSWORD_ROTATED,
            actor,
            Target.CONNECTION,
            record.connection_key,
            details={"step": step},
        )
        self._sealing.replace(record, kept, audit)
