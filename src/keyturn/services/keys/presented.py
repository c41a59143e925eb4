"""Finding the key whose secret somebody has at hand."""

from keyturn.core.api_key import ApiKeyFormat, digest_api_key
from keyturn.core.records import KeyForVerification
from keyturn.errors import CredentialRefused
from keyturn.store import Store


def is_well_formed(key_format: ApiKeyFormat, secret: str) -> bool:
    """Return whether a text is a whole key, as far as its form and its checksum tell."""
    try:
        key_format.check_well_formed(secret.encode("ascii"))
    except (CredentialRefused, UnicodeEncodeError):
        return False
    return True


def find_presented(store: Store, key_format: ApiKeyFormat, secret: str) -> KeyForVerification | None:
    """Return the key whose secret this is, or was until its last rotation; None for none.

    It may have ended. Nothing of the secret is kept or written down.
    """
    if not is_well_formed(key_format, secret):
        return None
    return store.api_keys.find_for_verification(digest_api_key(secret.encode("ascii")))
