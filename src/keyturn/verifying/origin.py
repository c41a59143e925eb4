"""The origin of a request, and the actor of each change."""

from dataclasses import dataclass

from keyturn.core.audit import Actor
from keyturn.core.paths import RequestTarget
from keyturn.core.principal import Principal


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from."""

    address: str | None = None
    """The peer's address."""
    user_agent: str | None = None
    request_id: str | None = None
    via: str | None = None
    """Method and path, without the query, which could hold anything."""
    target: RequestTarget | None = None
    """The request that a credential is judged for: at `/verify` the one that a gateway asks about."""


COMMAND_LINE = Actor(user_id=None, userid="command line")
"""The actor of `keyturn admin`: anybody who can run it on the server."""


def actor_of(principal: Principal, origin: Origin) -> Actor:
    """Return who acts when `principal` makes a request."""
    return Actor(
        user_id=principal.user_id,
        userid=principal.userid,
        key_id=principal.acts_by_key_id,
        address=origin.address,
        user_agent=origin.user_agent,
        request_id=origin.request_id,
        principal=principal,
    )


def stranger(origin: Origin) -> Actor:
    """Return who acts when nobody has proved who they are. Not what they typed: it may be a password."""
    return Actor(
        user_id=None,
        userid="anonymous",
        address=origin.address,
        user_agent=origin.user_agent,
        request_id=origin.request_id,
    )
