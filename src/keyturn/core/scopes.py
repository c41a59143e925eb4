"""What a credential covers."""

from collections.abc import Iterable

from keyturn.core.principal import Principal
from keyturn.errors import ScopeMissing


def check_scopes(principal: Principal, needed: Iterable[str]) -> None:
    """Raise `ScopeMissing` unless the credential covers these scopes; one that is not narrowed covers all."""
    wanted = frozenset(needed)
    if principal.scopes is not None and not principal.scopes >= wanted:
        raise ScopeMissing(*sorted(wanted))
