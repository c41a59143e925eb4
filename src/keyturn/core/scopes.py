"""What a credential covers."""

import re
from collections.abc import Iterable

from keyturn.core.principal import Principal
from keyturn.errors import ScopeMissing

_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")


def is_scope(text: str) -> bool:
    """Return whether this can be one scope (RFC 6749, section 3.3)."""
    return _SCOPE.fullmatch(text) is not None


def check_scopes(principal: Principal, needed: Iterable[str]) -> None:
    """Raise `ScopeMissing` unless the credential covers these scopes.

    One that is not narrowed covers all, except what its owner may not hold.
    """
    if isinstance(needed, str):
        raise TypeError("give the scopes as a list: a text would be read letter by letter")
    wanted = frozenset(needed)
    missing = wanted & principal.withheld if principal.scopes is None else wanted - principal.scopes
    if missing:
        raise ScopeMissing(*sorted(wanted))
