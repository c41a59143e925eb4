"""Scopes: the parts of an API that a credential covers."""

import re
from collections.abc import Iterable

from keyturn.core.principal import Principal
from keyturn.errors import ScopeMissing

NO_SCOPES: frozenset[str] = frozenset()

_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")


def is_scope(text: str) -> bool:
    """Return whether this can be one scope (RFC 6749, section 3.3)."""
    return _SCOPE.fullmatch(text) is not None


def check_scopes(principal: Principal, needed: Iterable[str]) -> None:
    """Raise `ScopeMissing` unless the credential covers these scopes."""
    wanted = read_scopes(needed)
    if not covers(principal, wanted):
        raise ScopeMissing(*sorted(wanted))


def read_scopes(needed: Iterable[str]) -> frozenset[str]:
    """Return the scopes that a program asks for; raise `TypeError` for a text."""
    if isinstance(needed, str):
        raise TypeError("give the scopes as a list: a text would be read letter by letter")
    return frozenset(needed)


def covers(principal: Principal, wanted: frozenset[str]) -> bool:
    """Return whether the credential covers all of these scopes.

    One that is not narrowed covers all, except what its owner may not hold. One that is linked to a project
    covers none: scopes are of services, and it is for the project's connections.
    """
    if principal.project_id is not None:
        return not wanted
    if principal.scopes is None:
        return wanted.isdisjoint(principal.withheld)
    return wanted <= principal.scopes
