"""How many connections one address may hold, so that it leaves some to others."""

import resource
from collections.abc import Sequence
from ipaddress import IPv6Address

import structlog

from keyturn.core.networks import (
    UNIX_PEER,
    Network,
    is_within,
    read_address,
)
from keyturn.counting.counts import Counts
from keyturn.counting.table import CONNECTIONS, CONNECTIONS_REFUSED
from keyturn.system import System

FEW_FILES = 4096
"""Fewer open files than this are too few for a server that others reach."""
MANY_FILES = 1_048_576
"""The most files that Linux gives a process by default."""
SHARE = 2
"""One address gets this part of the open files at most, whatever the setting says."""
FILES_FOR_OTHERS = 8
"""This part of the open files is kept for the database, the log and our own files."""
TELL_SECONDS = 60.0
IPV6_PREFIX = 64
MAX_TOLD = 1000

_IPV6_BITS = 128


def raise_file_limit() -> int:
    """Let this process open as many files as it may, and return how many; warn where these are few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY_FILES if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (ValueError, OSError):
            pass  # Some systems give less than they say: what there was stays.
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        structlog.get_logger().warning(
            "few_open_files", limit=soft, advised=FEW_FILES, raise_with="ulimit -n"
        )
    return MANY_FILES if soft == resource.RLIM_INFINITY else soft


class Connections:
    """Counts the connections of each address, for IPv6 of each /64, and bounds them."""

    def __init__(
        self,
        per_address: int,
        files: int,
        system: System,
        *,
        trusted: Sequence[Network] = (),
        counts: Counts | None = None,
    ) -> None:
        self._counts = counts or Counts()
        self._per_address = min(per_address, max(1, files // SHARE))
        self._total = max(1, files - files // FILES_FOR_OTHERS)
        self._trusted = tuple(trusted)
        self._system = system
        self._held: dict[str, int] = {}
        self._count = 0
        self._told: dict[str, tuple[float, int]] = {}
        """When a source was last told of, and how often it was refused since."""

    def admit(self, peer: str | None) -> str | None:
        """Count a connection of this peer and return what to give back with `leave`; None if it is refused.

        Trusted proxies and the Unix socket have the whole, not a part of it.
        """
        source = _source_of(peer)
        held = self._held.get(source, 0)
        is_one_of_many = source == UNIX_PEER or is_within(read_address(peer or ""), self._trusted)
        if self._count >= self._total or (held >= self._per_address and not is_one_of_many):
            self._counts.add(CONNECTIONS_REFUSED.cell())
            self._tell(source, held)
            return None
        self._held[source] = held + 1
        self._count += 1
        self._counts.note(CONNECTIONS.cell(), self._count)
        return source

    def leave(self, source: str) -> None:
        """Forget a connection that has ended."""
        self._count -= 1
        self._counts.note(CONNECTIONS.cell(), self._count)
        held = self._held[source] - 1
        if held:
            self._held[source] = held
        else:
            del self._held[source]

    def _tell(self, source: str, held: int) -> None:
        now = self._system.monotonic()
        last, refused = self._told.get(source, (now - TELL_SECONDS, 0))
        if now - last < TELL_SECONDS:
            self._told[source] = (last, refused + 1)
            return
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told[source] = (now, 0)
        structlog.get_logger().warning(
            "connections_refused",
            address=source,
            held=held,
            of_all=self._count,
            refused_before=refused,
            setting="KEYTURN_CONNECTIONS_PER_ADDRESS",
        )


def _source_of(peer: str | None) -> str:
    address = read_address((peer or "").partition("%")[0])
    if isinstance(address, IPv6Address):
        return f"{IPv6Address(int(address) >> (_IPV6_BITS - IPV6_PREFIX) << (_IPV6_BITS - IPV6_PREFIX))}/64"
    return str(peer) if address is None else str(address)
