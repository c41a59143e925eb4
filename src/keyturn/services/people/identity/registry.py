"""The identity providers of an installation."""

from collections.abc import Iterator

from keyturn.core.people import UserRecord
from keyturn.errors import InvalidInput
from keyturn.services.people.identity.password_provider import PasswordProvider
from keyturn.services.people.identity.provider import IdentityProvider


class IdentityProviders:
    """Finds the provider that an iamid names. The built-in one is always there."""

    def __init__(self, built_in: PasswordProvider, *others: IdentityProvider) -> None:
        self.built_in = built_in
        self._by_iamid: dict[str, IdentityProvider] = {built_in.iamid: built_in}
        for provider in others:
            if provider.iamid in self._by_iamid:
                raise ValueError(f"two identity providers are called {provider.iamid}")
            self._by_iamid[provider.iamid] = provider

    def __iter__(self) -> Iterator[IdentityProvider]:
        """Yield all providers, the built-in one first."""
        return iter(self._by_iamid.values())

    def __contains__(self, iamid: object) -> bool:
        """Return whether there is a provider with this id."""
        return iamid in self._by_iamid

    def find(self, iamid: str) -> IdentityProvider | None:
        """Return the provider with this id; None for an unknown one."""
        return self._by_iamid.get(iamid)

    def stores_password_of(self, user: UserRecord) -> bool:
        """Return whether Keyturn keeps the password of this user. Not where their provider is gone."""
        provider = self.find(user.iamid)
        return provider is not None and provider.stores_password

    def check_stores_password_of(self, user: UserRecord) -> None:
        """Raise `InvalidInput` for a user who has no password here to set."""
        if not self.stores_password_of(user):
            raise elsewhere("userid", self.find(user.iamid), user.iamid)


def elsewhere(field: str, provider: IdentityProvider | None, iamid: str) -> InvalidInput:
    """Return the refusal of a password that another identity manager keeps."""
    name = iamid if provider is None else provider.display_name
    return InvalidInput(field, f"Users of {name} have no password here: it is set in {name}.")
