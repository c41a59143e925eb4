"""What a credential covers."""

from collections.abc import Iterable

from keyturn.core.principal import Principal
from keyturn.errors import ScopeMissing


def check_scopes(principal: Principal, needed: Iterable[str]) -> None:
    """Raise `ScopeMissing` unless the credential covers these scopes; one that is not narrowed covers all."""
    if principal.scopes is not None and not principal.scopes.issuperset(needed):
        raise ScopeMissing(*sorted(needed))
