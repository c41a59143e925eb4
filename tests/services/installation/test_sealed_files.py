"""Encrypted files: whole, in their order, and with their key, or not at all."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest

from keyturn.errors import CannotStart, InvalidState
from keyturn.services.installation.sealed_files import (
    CHUNK_BYTES,
    HEAD,
    OpenedFile,
    SealingFile,
    is_sealed,
)
from keyturn.services.installation.vault import TAG_BYTES, Vault
from keyturn.system import System

if TYPE_CHECKING:
    from pathlib import Path

SEALED = CHUNK_BYTES + TAG_BYTES
BEFORE = len(HEAD) + 129
"""The bytes before the first chunk."""


def vault_of(*keys: bytes) -> Vault:
    return Vault(lambda: keys, System(), find_check=lambda: None)


KEY = b"k" * 32
VAULT = vault_of(KEY)


def sealed(content: bytes) -> bytes:
    target = io.BytesIO()
    with SealingFile(target, VAULT, System()) as file:
        for first in range(0, len(content), 10_000):
            file.write(content[first : first + 10_000])
    return target.getvalue()


def opened(data: bytes, vault: Vault = VAULT) -> bytes:
    return io.BufferedReader(OpenedFile(io.BytesIO(data), vault)).read()


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_what_is_sealed_is_read_back(size: int) -> None:
    """A file of any length is the same after it, and is nowhere in clear."""
    content = os.urandom(size)

    data = sealed(content)

    assert opened(data) == content
    assert data.startswith(HEAD)
    assert size < 16 or content[:16] not in data


def test_each_way_to_change_a_file_is_found() -> None:
    """Chunks that are cut off, left out, repeated, exchanged, or of another file are found."""
    content = os.urandom(3 * CHUNK_BYTES + 100)
    data, other = sealed(content), sealed(content)
    head, chunks = data[:BEFORE], [data[at : at + SEALED] for at in range(BEFORE, len(data), SEALED)]
    foreign = other[BEFORE : BEFORE + SEALED]
    assert len(chunks) == 4

    for changed in (
        chunks[:3],
        chunks[:1],
        [*chunks[:3], chunks[3][:50]],
        [chunks[0], *chunks[2:]],
        [chunks[0], *chunks],
        [chunks[1], chunks[0], *chunks[2:]],
        [foreign, *chunks[1:]],
        [*chunks, chunks[3]],
        [*chunks, b"more"],
    ):
        with pytest.raises(InvalidState, match="damaged"):
            opened(head + b"".join(changed))
    with pytest.raises(InvalidState, match="damaged"):
        opened(b"x" + data[1:])


def test_a_file_without_a_chunk_is_found() -> None:
    """A file that ends after its head is not an empty one."""
    with pytest.raises(InvalidState, match="damaged"):
        opened(sealed(b"content")[:BEFORE])


def test_each_changed_byte_is_found() -> None:
    """No byte of the key or of a chunk can be another."""
    data = sealed(b"content")
    for place in range(len(HEAD), len(data)):
        with pytest.raises((InvalidState, CannotStart)):
            opened(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def test_only_its_key_opens_a_file() -> None:
    """Another key is told of by the id of the one that is needed; a list with the former key opens."""
    data = sealed(b"content")
    with pytest.raises(CannotStart, match="which is not given"):
        opened(data, vault_of(b"o" * 32))

    assert opened(data, vault_of(b"o" * 32, KEY)) == b"content"


def test_a_sealed_file_is_known_by_its_head(tmp_path: Path) -> None:
    """A tar file is not one."""
    (tmp_path / "sealed").write_bytes(sealed(b""))
    (tmp_path / "plain").write_bytes(b"manifest.json")
    assert is_sealed(tmp_path / "sealed")
    assert not is_sealed(tmp_path / "plain")
