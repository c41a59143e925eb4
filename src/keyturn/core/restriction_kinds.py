"""The kinds of restrictions that a key can have: how each is named, read, written, told and compared."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from keyturn.core.jwk import is_thumbprint
from keyturn.core.networks import Network, are_within, read_network, readable_network
from keyturn.core.paths import has_method, is_under, read_path, read_prefix
from keyturn.errors import InvalidInput

MAX_NETWORKS = 100
"""How many networks a key may be used from at most: each is looked at with each request."""
MAX_METHODS = MAX_PATHS = 20
MAX_METHOD_CHARACTERS = 32
MAX_PATH_CHARACTERS = 255

_METHOD = re.compile(r"[A-Z]+(?:-[A-Z]+)*")
"""RFC 9110, section 9.1: methods are compared with their case, and those that there are have capitals."""
_FAULTS_TOLD = 3
_UNREADABLE = "is not an address or network."
_REPEATED = re.compile(r"[!-~]{1,18}|(?=[^.:]*[.:])[0-9A-Fa-f.:/]{1,49}")
"""The part of an unreadable network that messages repeat: nothing that could be a key."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of restriction."""

    name: str
    """Of the field here, and of the column."""
    wire: str
    """Of the field in JSON, in forms, and in errors."""
    audit: str
    """Of the detail in the audit log, which is never renamed."""
    label: str
    read: Callable[[Any], Any]
    """Reads what somebody chose; raises `InvalidInput`."""
    restore: Callable[[Any], Any]
    """Reads what was written before; raises `ValueError`."""
    write: Callable[[Any], Any]
    words: Callable[[Any], list[str]]
    is_within: Callable[[Any, Any], bool]
    """Whether the first is no wider than the second."""
    too_wide: str
    typed: re.Pattern[str] = re.compile(r"[^\s,]+")
    """One entry, in a field of a form in which there may be several."""
    is_list: bool = True
    is_code: bool = False
    is_listed_whole: bool = False


def _read_scopes(texts: Sequence[str]) -> frozenset[str]:
    if not texts:
        raise InvalidInput("scopes", "Choose at least one scope, or leave the key as wide as its owner.")
    return frozenset(texts)


def _read_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return the networks that a key may be used from, each once.

    Raise `InvalidInput` for what is no network, and for none at all: such a key would work nowhere.
    """
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
    if len(found) > MAX_NETWORKS:
        raise InvalidInput("allowFrom", f"A key is bound to {MAX_NETWORKS} networks at most.")
    return tuple(found)


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


def _read_jkt(text: str) -> str:
    if not is_thumbprint(text):
        raise InvalidInput(
            "dpopJkt", "The thumbprint of a key pair is 43 characters of base64url (RFC 7638)."
        )
    return text


def _read_methods(texts: Sequence[str]) -> tuple[str, ...]:
    found = tuple(sorted(set(texts)))
    for text in found:
        if len(text) > MAX_METHOD_CHARACTERS or _METHOD.fullmatch(text) is None:
            raise InvalidInput("allowMethods", "A method is written in capitals, like GET or POST.")
    _check_count("allowMethods", found, MAX_METHODS, "method")
    return found


def _read_paths(texts: Sequence[str]) -> tuple[str, ...]:
    for number, text in enumerate(texts, start=1):
        if len(text) > MAX_PATH_CHARACTERS:
            raise InvalidInput(
                "allowPaths", f"Entry {number} is longer than {MAX_PATH_CHARACTERS} characters."
            )
        if read_path(text) is None:
            raise InvalidInput(
                "allowPaths",
                f"Entry {number} is not a canonical path. Write it like /data/connection: from the first "
                "slash, without a query, without empty segments, without . and .., and without needless "
                "%-encoding.",
            )
        if text != "/" and text.endswith("/"):
            raise InvalidInput(
                "allowPaths",
                f"Leave out the slash at the end of entry {number}: a path allows itself and all below it.",
            )
    found = tuple(dict.fromkeys(texts))
    _check_count("allowPaths", found, MAX_PATHS, "path")
    return found


def _check_count(field: str, found: Sequence[str], at_most: int, word: str) -> None:
    if not found:
        raise InvalidInput(field, f"Name a {word}, or leave it out: a key of no {word} works nowhere.")
    if len(found) > at_most:
        raise InvalidInput(field, f"A key is restricted to {at_most} {word}s at most.")


def _are_methods_within(chosen: Sequence[str], wide: Sequence[str]) -> bool:
    return all(has_method(wide, method) for method in chosen)


def _are_paths_within(chosen: Sequence[str], wide: Sequence[str]) -> bool:
    return all(any(is_under(read_prefix(path), read_prefix(prefix)) for prefix in wide) for path in chosen)


def _restore_paths(written: Iterable[str]) -> tuple[str, ...]:
    prefixes = _texts(written)
    for prefix in prefixes:
        read_prefix(prefix)
    return prefixes


def _texts(written: Iterable[str]) -> tuple[str, ...]:
    if isinstance(written, str) or not all(isinstance(text, str) for text in written):
        raise ValueError("no list of texts")
    return tuple(written)


def _text(written: object) -> str:
    if not isinstance(written, str):
        raise ValueError("no text")  # noqa: TRY004 - what was written is wrong, whatever it is
    return written


KINDS: Final[tuple[Kind, ...]] = (
    Kind(
        name="scopes",
        wire="scopes",
        audit="scopes",
        label="Scopes",
        read=_read_scopes,
        restore=lambda written: frozenset(_texts(written)),
        write=sorted,
        words=sorted,
        is_within=lambda chosen, wide: chosen <= wide,
        too_wide="A key cannot make one that covers more than it does.",
        is_listed_whole=True,
    ),
    Kind(
        name="networks",
        wire="allowFrom",
        audit="sources",
        label="Networks",
        read=_read_networks,
        restore=lambda written: tuple(map(read_network, _texts(written))),
        write=lambda networks: [*map(str, networks)],
        words=lambda networks: [readable_network(str(network)) for network in networks],
        is_within=are_within,
        too_wide="A key cannot make one that works from more places than it does.",
    ),
    Kind(
        name="jkt",
        wire="dpopJkt",
        audit="dpopJkt",
        label="Key pair",
        read=_read_jkt,
        restore=_text,
        write=str,
        words=lambda jkt: [jkt],
        is_within=lambda chosen, wide: bool(chosen == wide),
        too_wide="A key that is bound to a key pair makes only keys that are bound to the same one.",
        is_list=False,
        is_code=True,
    ),
    Kind(
        name="methods",
        wire="allowMethods",
        audit="allowMethods",
        label="Methods",
        read=_read_methods,
        restore=_texts,
        write=list,
        words=list,
        is_within=_are_methods_within,
        too_wide="A key cannot make one for more methods than its own.",
        is_listed_whole=True,
    ),
    Kind(
        name="paths",
        wire="allowPaths",
        audit="allowPaths",
        label="Paths",
        read=_read_paths,
        restore=_restore_paths,
        write=list,
        words=list,
        is_within=_are_paths_within,
        too_wide="A key cannot make one for more paths than its own.",
        typed=re.compile(r"\S+"),
    ),
)
