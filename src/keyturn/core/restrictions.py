"""The restrictions of a key: one value from the form in which it is chosen to the verdict and the feed.

Each kind of restriction is a row of `KINDS`; a new one is a row there, a field of `Restrictions`, a column,
and the places in which people choose it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from keyturn.core.networks import Network, is_within, read_address
from keyturn.core.paths import RequestRule, RequestTarget
from keyturn.core.restriction_kinds import KINDS, Kind
from keyturn.errors import InvalidInput, Reason

SHOWN_CHARACTERS = 8
"""The characters of a thumbprint in a list: enough to tell a person's key pairs apart."""
LISTED = 2
"""How many networks and the like a list shows of a key: a page of 25 keys is to stay small."""


class Restrictions(msgspec.Struct, frozen=True, gc=False):
    """The restrictions of a key, by kind; None for no such restriction."""

    scopes: frozenset[str] | None = None
    """The scopes that it covers; without, it may do whatever its owner may."""
    networks: tuple[Network, ...] | None = None
    """The networks that it may be used from; without, it works from anywhere."""
    jkt: str | None = None
    """The thumbprint of the key pair that alone may present it (RFC 9449); without, anybody may."""
    methods: tuple[str, ...] | None = None
    """The methods of the requests that it may be used for; without, any."""
    paths: tuple[str, ...] | None = None
    """The prefixes of their paths, canonical and of whole segments; without, any."""
    is_unknown: bool = False
    """Whether it is restricted in a way that this older program does not know: then it opens nothing."""

    @property
    def is_conditional(self) -> bool:
        """Whether more decides than the key itself: who may present it is asked for elsewhere."""
        return (
            self.networks is not None or self.methods is not None or self.paths is not None or self.is_unknown
        )

    @property
    def requests(self) -> RequestRule | None:
        """The requests that it may be used for; None for any."""
        if self.methods is None and self.paths is None:
            return None
        return RequestRule(self.methods, self.paths)

    def find_fault(self, address: str | None, target: RequestTarget | None) -> Reason | None:
        """Return why this request, from this address, may not use the key; None if it may.

        An address that is not known lies in no network, and a request that is not known is not allowed.
        """
        if self.is_unknown:
            return Reason.RESTRICTION
        if self.networks is not None and not is_within(read_address(address or ""), self.networks):
            return Reason.SOURCE
        requests = self.requests
        return None if requests is None or requests.allows(target) else Reason.REQUEST

    def within(self, maker: "Restrictions") -> "Restrictions":
        """Return the restrictions of a key that is made with one that has those of `maker` (A3).

        A kind that is not chosen is as with the maker. Raise `InvalidInput` for what is wider.
        """
        held: dict[str, Any] = {}
        for kind in KINDS:
            wide, chosen = getattr(maker, kind.name), getattr(self, kind.name)
            if wide is not None and chosen is not None and not kind.is_within(chosen, wide):
                raise InvalidInput(kind.wire, kind.too_wide)
            held[kind.name] = wide if chosen is None else chosen
        return Restrictions(**held, is_unknown=self.is_unknown or maker.is_unknown)

    def describe(self) -> "list[Fact]":
        """Return each restriction in words, for lists, pages and messages."""
        return [
            Fact(kind.label, words := kind.words(value), _listed(kind, words), is_code=kind.is_code)
            for kind, value in _values(self)
            if value is not None
        ]

    def to_wire(self) -> dict[str, Any]:
        """Return what is sent and stored as JSON, each by its name on the wire; None for no restriction."""
        return {kind.wire: _written(kind, value) for kind, value in _values(self)}

    def to_columns(self) -> dict[str, Any]:
        """Return the same by the names of the columns that hold it."""
        return {kind.name: _written(kind, value) for kind, value in _values(self)}

    def to_details(self) -> dict[str, Any]:
        """Return what the audit log tells of a key that is made: only what there is."""
        return {kind.audit: _written(kind, value) for kind, value in _values(self) if value is not None}


UNRESTRICTED: Final = Restrictions()


@dataclass(frozen=True, slots=True)
class Fact:
    """One restriction in words."""

    label: str
    """The words before it, like "Networks"."""
    words: list[str]
    listed: str
    """The text of it in a list."""
    is_code: bool = False
    """Whether it is one text that says nothing to a reader, who compares it."""


def read_restrictions(given: Mapping[str, Any]) -> Restrictions:
    """Return what somebody chose, by names on the wire; raise `InvalidInput`. None is no restriction."""
    chosen = {kind.name: kind.read(value) for kind, value in _chosen(given)}
    return Restrictions(**chosen)


def find_faults(given: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with what somebody chose, by names on the wire: all of it at once."""
    faults: dict[str, str] = {}
    for kind, value in _chosen(given):
        try:
            kind.read(value)
        except InvalidInput as error:
            faults[error.field] = str(error)
    return faults


def typed_restrictions(form: Mapping[str, str]) -> dict[str, Any]:
    """Return what was typed into the fields of a form, to be read: None for an empty one."""
    typed: dict[str, Any] = {}
    for kind in KINDS:
        text = form.get(kind.wire, "").strip()
        entries: Any = kind.typed.findall(text) if kind.is_list else text
        typed[kind.wire] = entries if text else None
    return typed


def restore_restrictions(written: Mapping[str, Any]) -> Restrictions:
    """Return what `to_wire` wrote, perhaps of a newer program; raise `ValueError` for what is none."""
    restored: dict[str, Any] = {}
    try:
        for kind in KINDS:
            value = written.get(kind.wire)
            restored[kind.name] = None if value is None else kind.restore(value)
    except TypeError:
        raise ValueError("restrictions of another form") from None
    known = {kind.wire for kind in KINDS}
    is_unknown = any(value is not None for name, value in written.items() if name not in known)
    return Restrictions(**restored, is_unknown=is_unknown)


def _values(restrictions: Restrictions) -> Iterator[tuple[Kind, Any]]:
    for kind in KINDS:
        yield kind, getattr(restrictions, kind.name)


def _listed(kind: Kind, words: list[str]) -> str:
    if kind.is_code:
        return f"{words[0][:SHOWN_CHARACTERS]}…"
    more = 0 if kind.is_listed_whole else max(len(words) - LISTED, 0)
    return ", ".join(words[: len(words) - more]) + (f" and {more} more" if more else "")


def _written(kind: Kind, value: Any) -> Any:
    return None if value is None else kind.write(value)


def _chosen(given: Mapping[str, Any]) -> Iterator[tuple[Kind, Any]]:
    for kind in KINDS:
        if given.get(kind.wire) is not None:
            yield kind, given[kind.wire]
