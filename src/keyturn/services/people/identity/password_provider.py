"""The built-in identity provider: users whose passwords Keyturn keeps."""

from functools import partial

from keyturn.services.people.identity.passwords import Passwords
from keyturn.services.people.identity.provider import Credentials, Identity

BUILT_IN_IAM = "bim"
"""The identity manager that Keyturn itself is, under the name the Immuta API gives it."""


class PasswordProvider:
    """Judges passwords by their stored hashes."""

    iamid = BUILT_IN_IAM
    display_name = "Built-in"
    type = BUILT_IN_IAM
    takes_password = True
    stores_password = True
    can_reauthenticate = True

    def __init__(self, passwords: Passwords) -> None:
        self.passwords = passwords

    def verify(self, credentials: Credentials) -> Identity | None:
        """Compare with the hash of the account, or do the same work without one (L3).

        Raise `TooBusy` when too many wait for their turn (Q4).
        """
        account = credentials.account
        stored = None if account is None else account.password_hash
        is_right = self.passwords.is_right(credentials.password, stored, credentials.asker)
        if account is None or stored is None or not is_right:
            return None
        if not self.passwords.is_outdated(stored):
            return Identity(account.user_id)
        return Identity(
            account.user_id, partial(self.passwords.hash, credentials.password, credentials.asker)
        )
