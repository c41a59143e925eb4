"""What bounds a new key: how long it lives, what it covers, where it works, and who may present it."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from keyturn.core.jwk import is_thumbprint
from keyturn.core.lifetimes import Lifetime
from keyturn.core.networks import Network, are_within, read_network
from keyturn.core.principal import Principal
from keyturn.core.records import KeyForVerification
from keyturn.core.times import wire_time
from keyturn.errors import Conflict, InvalidInput, NotFound

MAX_NETWORKS = 100
"""How many networks a key may be used from at most: each is looked at with each request."""

_FAULTS_TOLD = 3
_UNREADABLE = "is no address or network."
_REPEATED = re.compile(r"[!-~]{1,18}|(?=[^.:]*[.:])[0-9A-Fa-f.:/]{1,49}")
"""What of an unreadable network is repeated: never something that could be a key."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """When a new key begins and ends, and what it is narrowed to: None for nothing."""

    created_at: datetime
    expires_at: datetime | None
    scopes: tuple[str, ...] | None = None
    sources: tuple[Network, ...] | None = None
    project_id: int | None = None
    jkt: str | None = None


def within_maker(limits: KeyLimits, principal: Principal, maker: KeyForVerification) -> KeyLimits:
    """Hold the limits of a new key, but for its end, within those of the key it is made with (A3)."""
    scopes, sources = limits.scopes, limits.sources
    if principal.scopes is not None:
        if scopes is not None and not principal.scopes.issuperset(scopes):
            raise InvalidInput("scopes", "A key cannot make one that covers more than it does.")
        scopes = scopes or tuple(sorted(principal.scopes))
    if maker.sources is not None:
        if sources is not None and not are_within(sources, maker.sources):
            raise InvalidInput("allowFrom", "A key cannot make one that works from more places than it does.")
        sources = sources or maker.sources
    if maker.project_id is not None and limits.project_id not in {None, maker.project_id}:
        raise NotFound("You are in no such project.")
    if principal.jkt is not None and limits.jkt not in {None, principal.jkt}:
        raise InvalidInput("dpopJkt", "What is bound to a key pair makes only what is bound to the same one.")
    return replace(
        limits,
        scopes=scopes,
        sources=sources,
        project_id=limits.project_id if maker.project_id is None else maker.project_id,
        jkt=limits.jkt if principal.jkt is None else principal.jkt,
    )


def end_within(principal: Principal, lifetime: Lifetime | None, end: datetime | None) -> datetime | None:
    """Return when something ends that `principal` makes and that would end at `end`, None for never.

    It ends no later than its maker (A3). Raise `Conflict` if that is sooner than `lifetime` asks for.
    """
    last = principal.makes_until
    if last is None or (end is not None and end <= last):
        return end
    if lifetime is not None:
        raise Conflict(
            f"Nothing outlives the credential that it is made with, and this one ends at {wire_time(last)}: "
            "choose no later expiry, or leave it out."
        )
    return last


def checked_sources(texts: Sequence[str] | None) -> tuple[Network, ...] | None:
    """Return the networks that a key may be used from, each once; None for anywhere.

    Raise `InvalidInput` for what is no network, and for none at all: such a key would work nowhere.
    """
    if texts is None:
        return None
    found: dict[Network, None] = {}
    faults = []
    for number, text in enumerate(texts, start=1):
        try:
            found[read_network(text)] = None
        except ValueError:
            faults.append(_fault_of(text, number))
    if faults:
        more = len(faults) - _FAULTS_TOLD
        told = faults[:_FAULTS_TOLD] + ([f"There are {more} more such faults."] if more > 0 else [])
        if any(fault.endswith(_UNREADABLE) for fault in told):
            told.append("Write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32 or the like.")
        raise InvalidInput("allowFrom", " ".join(told))
    if not found:
        raise InvalidInput("allowFrom", "Name a network, or leave it out: a key of no network works nowhere.")
    return checked_networks(found)


def checked_networks(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Return these networks, each once; raise `InvalidInput` for too many."""
    found = tuple(dict.fromkeys(networks))
    if len(found) > MAX_NETWORKS:
        raise InvalidInput("allowFrom", f"A key is bound to {MAX_NETWORKS} networks at most.")
    return found


def checked_jkt(text: str | None) -> str | None:
    """Return the thumbprint of a key pair, None for none; raise `InvalidInput` for what can be none."""
    if text is not None and not is_thumbprint(text):
        raise InvalidInput(
            "dpopJkt", "The thumbprint of a key pair is 43 characters of base64url (RFC 7638)."
        )
    return text


def _fault_of(text: str, number: int) -> str:
    """Say what is wrong with the network that stands at `number`, and what to write."""
    name = text if _REPEATED.fullmatch(text) else f"Entry {number}"
    if "%" in text:
        return f"{name} names an interface of one machine (%): leave that out."
    try:
        meant = ipaddress.ip_interface(text)
    except ValueError:
        return f"{name} {_UNREADABLE}"
    return f"{name} is an address within a network: write {meant.network}, or {meant.ip} alone."
