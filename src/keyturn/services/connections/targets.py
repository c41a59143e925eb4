"""A connection as the process takes it that reaches its database."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keyturn.adapters.limits import Limits
from keyturn.adapters.tasks import Action, Task
from keyturn.adapters.technologies import BY_NAME, Tier
from keyturn.adapters.validation import Value, check_can_reach, get_technology
from keyturn.core.connections import ConnectionRecord, ConnectionState
from keyturn.errors import InvalidState
from keyturn.services.connections.sealing import ConnectionSecrets, merged

DEACTIVATED = "The connection is switched off. Activate it first."


@dataclass(frozen=True, slots=True)
class Targets:
    """Makes tasks of connections. Raise `InvalidInput` for a technology that is only kept."""

    secrets: ConnectionSecrets
    allowed_networks: Sequence[str]
    own_endpoints: Callable[[], Sequence[tuple[str, int]]]
    """Where Keyturn and its database listen, as addresses and ports, at this moment."""
    limits: Limits

    def values_of(self, record: ConnectionRecord) -> dict[str, Value]:
        """Return all values of a connection, secrets among them; raise `InvalidState` if it is off."""
        if record.state is ConnectionState.INACTIVE:
            raise InvalidState(DEACTIVATED)
        check_can_reach(get_technology(record.technology))
        return merged(record.details, self.secrets.open(record).current)

    @staticmethod
    def can_reach(record: ConnectionRecord) -> bool:
        """Return whether the technology is one that is tested and crawled."""
        technology = BY_NAME.get(record.technology)
        return technology is not None and technology.tier is not Tier.KEPT

    def task(
        self,
        action: Action,
        values: dict[str, Value],
        *,
        known_fingerprints: Sequence[str] = (),
        new_password: str = "",
    ) -> Task:
        """Return what the process is to do with these values."""
        return Task(
            action,
            values,
            allowed_networks=self.allowed_networks,
            own_endpoints=self.own_endpoints(),
            known_fingerprints=known_fingerprints,
            new_password=new_password,
            limits=self.limits,
        )
