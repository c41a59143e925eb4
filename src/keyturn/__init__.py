"""Keyturn: API keys and bearer tokens, self-hosted.

What is importable from here is the public interface; nothing else is promised.
"""

from keyturn.core.access_token import AccessTokenClaims
from keyturn.core.principal import AuthMethod, Principal
from keyturn.errors import CredentialRefused, KeyturnError, PermissionMissing, Reason

__all__ = [
    "AccessTokenClaims",
    "AuthMethod",
    "CredentialRefused",
    "KeyturnError",
    "PermissionMissing",
    "Principal",
    "Reason",
    "__version__",
]

__version__ = "0.1.0"
