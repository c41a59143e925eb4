"""A token that acts for somebody changes nothing.

It is lent for an hour, and nothing that is done with it may outlast it: a key, a member of a group, a role on
a connection. One check where every change is written down: no route can be forgotten.
"""

from keyturn.core.principal import Principal
from keyturn.errors import ChangeRefused


def check_may_change(caller: Principal) -> None:
    """Raise `ChangeRefused` for a caller who acts for somebody."""
    if caller.impersonator is not None:
        raise ChangeRefused("This token acts for another person and changes nothing. Use a key of your own.")
