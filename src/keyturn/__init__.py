"""Keyturn: API keys and bearer tokens, self-hosted.

What is importable from here is the public interface; nothing else is promised.
"""

from keyturn.core.access_token import AccessTokenClaims
from keyturn.core.principal import AuthMethod, Principal
from keyturn.errors import (
    CannotStart,
    CredentialRefused,
    KeyturnError,
    PermissionMissing,
    Reason,
    ScopeMissing,
    StoreUnavailable,
    TooManyFailures,
)
from keyturn.verifier import Verifier

__all__ = [
    "AccessTokenClaims",
    "AuthMethod",
    "CannotStart",
    "CredentialRefused",
    "KeyturnError",
    "PermissionMissing",
    "Principal",
    "Reason",
    "ScopeMissing",
    "StoreUnavailable",
    "TooManyFailures",
    "Verifier",
    "__version__",
]

__version__ = "0.1.0"
