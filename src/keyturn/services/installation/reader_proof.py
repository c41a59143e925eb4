"""The proof that a question comes from somebody who can read the database: `keyturn admin doctor`.

    1764590400.cN0v…
    seconds since 1970, a full stop, and their HMAC-SHA256 in base64url

Its key is the seal by which an installation knows its root key. That lies in the database, is different in
each installation, and is never shown.
"""

import hashlib
import hmac

from keyturn.core.encoding import base64url_encode
from keyturn.errors import NotFound
from keyturn.store import Store
from keyturn.system import System

PROOF_SECONDS = 60
"""How far the clocks of the two may differ, with the time that the question takes."""
MAX_PROOF_CHARACTERS = 64


def new_proof(store: Store, system: System) -> str | None:
    """Return a proof for a question that is asked now; None before the first start of a server."""
    key = store.installation.find_root_key_check()
    return None if key is None else _proof(key, str(int(system.timestamp())))


def check_proof(proof: str, store: Store, system: System) -> None:
    """Raise `NotFound` unless the proof is of this installation and of this minute."""
    asked_at, _, _ = proof.partition(".")
    key = store.installation.find_root_key_check()
    is_number = asked_at.isascii() and asked_at.isdigit() and len(proof) <= MAX_PROOF_CHARACTERS
    if key is None or not is_number or abs(system.timestamp() - int(asked_at)) > PROOF_SECONDS:
        raise NotFound
    if not hmac.compare_digest(_proof(key, asked_at).encode(), proof.encode()):
        raise NotFound


def _proof(key: bytes, asked_at: str) -> str:
    digest = hmac.digest(key, b"keyturn doctor " + asked_at.encode(), hashlib.sha256)
    return f"{asked_at}.{base64url_encode(digest).decode('ascii')}"
