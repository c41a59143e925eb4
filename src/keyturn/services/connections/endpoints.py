"""Where Keyturn and its own database listen: no connection leads there, whoever allows the network (O2)."""

import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress

ANY = {"0.0.0.0", "::", ""}  # noqa: S104 - compared, not bound to


def own_endpoints(*listeners: tuple[str, int] | None) -> Sequence[tuple[str, int]]:
    """Return the addresses and ports of what listens at these hosts and ports; None listens nowhere."""
    return sorted({found for one in listeners if one is not None for found in _addresses(*one)})


def _addresses(host: str, port: int) -> Iterable[tuple[str, int]]:
    """Yield all that a name stands for; for one that means every address of this machine, those we know."""
    names = [host] if host not in ANY else ["127.0.0.1", "::1", socket.gethostname()]
    for name in names:
        with suppress(OSError):
            for *_, address in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM):
                yield str(address[0]), port
