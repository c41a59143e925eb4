"""Keyturn: API keys and bearer tokens, self-hosted.

The names here are the public interface; nothing else is promised. Each name is imported when it is first
asked for (PEP 562), so that the command line and a program that only calls do not wait for the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyturn.core.access_token import AccessTokenClaims
    from keyturn.core.dpop import PresentedProof
    from keyturn.core.principal import AuthMethod, Principal
    from keyturn.errors import (
        AmbiguousCredential,
        CannotStart,
        CredentialRefused,
        DpopProofRefused,
        KeyturnError,
        PermissionMissing,
        ProofFault,
        Reason,
        ScopeMissing,
        StoreUnavailable,
        TooBusy,
        TooManyFailures,
        UnknownAudience,
    )
    from keyturn.verifier import Verifier

__all__ = [
    "AccessTokenClaims",
    "AmbiguousCredential",
    "AuthMethod",
    "CannotStart",
    "CredentialRefused",
    "DpopProofRefused",
    "KeyturnError",
    "PermissionMissing",
    "PresentedProof",
    "Principal",
    "ProofFault",
    "Reason",
    "ScopeMissing",
    "StoreUnavailable",
    "TooBusy",
    "TooManyFailures",
    "UnknownAudience",
    "Verifier",
    "__version__",
]

__version__ = "0.2.0"

_HOMES = {
    "AccessTokenClaims": "keyturn.core.access_token",
    "PresentedProof": "keyturn.core.dpop",
    "AuthMethod": "keyturn.core.principal",
    "Principal": "keyturn.core.principal",
    "Verifier": "keyturn.verifier",
}
"""Where a public name is defined. The others are errors."""

if not TYPE_CHECKING:  # A type checker would take every name for one of ours.

    def __getattr__(name: str) -> object:
        """Import a public name, and keep it for the next who asks."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_HOMES.get(name, "keyturn.errors")), name)
        return found

    def __dir__() -> list[str]:
        """Return the public names, imported or not."""
        return sorted({*globals(), *__all__})
