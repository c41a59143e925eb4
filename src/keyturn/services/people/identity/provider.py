"""An identity provider: one source of users, and the proof that it takes of them.

A provider judges one proof and nothing else. `SignInAttempts` decides who may try, how often, and what a
wrong proof costs, alike for all providers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from keyturn.core.people import LoginRecord
from keyturn.services.people.identity.turns import Asker


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and a password, as somebody typed them."""

    userid: str
    """The folded user name, which is also the account's canonical one."""
    password: str = field(repr=False)
    account: LoginRecord | None
    """The account of this name at this provider; None if there is none, or nobody may sign in to it now."""
    asker: Asker
    """In whose turn costly work is done."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The account whose holder proved who they are."""

    user_id: int
    rehash: Callable[[], str] | None = field(default=None, repr=False)
    """Makes the hash that is to replace the stored one; None if what is stored is as strong as it can be."""


class IdentityProvider(Protocol):
    """One source of users. Each method may block: call it in a thread."""

    @property
    def iamid(self) -> str:
        """The id under which `/bim/iam/{iamid}` and the records of its users name it."""

    @property
    def display_name(self) -> str:
        """What people call it."""

    @property
    def type(self) -> str:
        """The kind of identity manager, as `GET /bim/iam` lists it."""

    @property
    def takes_password(self) -> bool:
        """Whether `verify` judges a password, typed into the page or sent to the API."""

    @property
    def stores_password(self) -> bool:
        """Whether Keyturn keeps the passwords of its users: only then can one be set, or a user invited."""

    @property
    def can_reauthenticate(self) -> bool:
        """Whether `verify` may be asked again within a session (ASVS 7.5.3)."""

    def verify(self, credentials: Credentials) -> Identity | None:
        """Return whose credentials these are; None if they are wrong.

        Do the same work without an account as with one: the time must not tell which names exist (L3). Raise
        `TooBusy` if the credentials cannot be judged now, which is no wrong guess.
        """
