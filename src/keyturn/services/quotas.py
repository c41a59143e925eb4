"""How much one user may make over pages and API; `keyturn admin` is not bound by it."""

from keyturn.core.principal import Principal
from keyturn.services.failures import FailureBudget
from keyturn.system import System

PROJECTS_PER_PERSON = 1000
"""How many projects that they made a person may leave standing."""


class Quotas:
    """Bounds the living keys of an account, and how fast a user makes things.

    The rate is counted in this process, in bounded memory: several processes allow as many times more.
    """

    def __init__(self, *, keys_per_owner: int, creations_per_minute: int, system: System) -> None:
        self.keys_per_owner = keys_per_owner
        self._creations = FailureBudget(
            creations_per_minute,
            system,
            refusal="You made many keys or projects just now: wait {seconds} seconds before the next one.",
        )

    def note_creation(self, principal: Principal) -> None:
        """Count something that is about to be made; raise `TooManyFailures` if this user made too much."""
        self._creations.note(f"user {principal.user_id}")
