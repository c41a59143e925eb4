"""The least that somebody writes by hand: a FastAPI dependency over a dictionary of SHA-256 digests."""

# mypy: ignore-errors
# Its packages are in .venv-bench, where mypy does not look.

import hashlib
import secrets
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import APIKeyHeader

from bench.peers.storage import publish

KEYS = 10_000

_key = secrets.token_urlsafe(32)
_owners = {hashlib.sha256(secrets.token_bytes(32)).digest(): f"user {number}" for number in range(KEYS - 1)}
_owners[hashlib.sha256(_key.encode()).digest()] = "the user"
publish(key=_key)

app = FastAPI()


async def owner_of(key: Annotated[str, Depends(APIKeyHeader(name="Authorization"))]) -> str:
    """Return who owns the key; 401 if nobody does."""
    owner = _owners.get(hashlib.sha256(key.encode()).digest())
    if owner is None:
        raise HTTPException(401)
    return owner


@app.get("/verify")
async def verify(_owner: Annotated[str, Depends(owner_of)]) -> dict[str, bool]:
    """Answer 200 to whoever passed the dependency."""
    return {"ok": True}
