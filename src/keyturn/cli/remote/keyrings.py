"""The keyring of the system, where a profile may keep its key. It is asked only where a person chose it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from keyturn.errors import CannotStart

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE = "keyturn"
"""The service name of our keys in the keyring; each key is named after its profile."""


def find_key(profile: str) -> str | None:
    """Return the key of a profile, None if the keyring has none; raise `CannotStart` without a keyring."""
    with _keyring() as keyring:
        return keyring.get_password(SERVICE, profile)


def keep_key(profile: str, key: str) -> None:
    """Keep the key of a profile; raise `CannotStart` if the keyring does not."""
    with _keyring() as keyring:
        keyring.set_password(SERVICE, profile, key)
        if keyring.get_password(SERVICE, profile) != key:  # Some keyrings keep nothing, and say nothing.
            raise CannotStart("The keyring of this system keeps nothing: leave out --keyring.")


def forget_key(profile: str) -> None:
    """Remove the key of a profile, if it is there."""
    with _keyring() as keyring:
        if keyring.get_password(SERVICE, profile) is not None:
            keyring.delete_password(SERVICE, profile)


@contextmanager
def _keyring() -> "Iterator[KeyringBackend]":
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        raise CannotStart(
            "The keyring needs a package: run pip install 'keyturn[keyring]', or leave out --keyring."
        ) from None
    try:
        yield keyring.get_keyring()
    except (KeyringError, OSError, RuntimeError) as error:
        raise CannotStart(
            f"The keyring of this system cannot be used ({type(error).__name__}): unlock it, or leave out "
            "--keyring and log in again."
        ) from None
