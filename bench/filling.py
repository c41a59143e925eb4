"""A database with very many keys, written past Keyturn: straight into the tables that it made.

What a row holds besides its id, owner and digest is copied from a row that Keyturn wrote, whatever
columns that has. Keys are drawn from a seed, so that the load can present some of them although nobody
kept their texts. Making the text of a key costs far more than its row, so only those that the load
presents are real; of the others there is a digest that no key has, which no look-up can tell.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pysqlite3

from bench.installations import Installation
from keyturn.core.api_key import RANDOM_BYTES, ApiKeyFormat

SEED = b"keyturn bench"
KEYS_OF_ONE_OWNER = 10
ROWS_OF_ONE_STATEMENT = 100_000
CACHE_KIBIBYTES = 4 * 1024 * 1024
DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Filling:
    """What is in the database."""

    keys: int
    presented: Sequence[str]
    """The texts of real keys, in no order that the database knows."""


def fill(installation: Installation, file: Path, keys: int, presented: int) -> Filling:
    """Write so many keys, of which the load may present `presented`, or all if there are fewer.

    The installation must be fresh, with its one person.
    """
    installation.new_key()
    connection = pysqlite3.connect(file, isolation_level=None)
    try:
        # A crash may take the database along: it is made anew by the next run.
        for setting in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIBIBYTES}"):
            connection.execute(f"PRAGMA {setting}").fetchall()
        texts = _fill_tables(connection, keys, min(keys, presented))
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
    finally:
        connection.close()
    return Filling(keys, texts)


def _fill_tables(connection: pysqlite3.Connection, keys: int, presented: int) -> list[str]:
    owner = _one(connection, "SELECT max(id) FROM user_account") + 1
    key = _one(connection, "SELECT max(id) FROM api_key") + 1
    owners = -(-keys // KEYS_OF_ONE_OWNER)
    chance = random.Random(SEED)
    places = chance.sample(range(keys), presented)
    texts = [_key_text(number) for number in range(presented)]
    digests = {
        place: hashlib.sha256(text.encode()).digest() for place, text in zip(places, texts, strict=True)
    }
    _copy_rows(
        connection,
        "user_account",
        ("id", "userid", "canonical_userid"),
        ((owner + number, f"person-{number}", f"person-{number}") for number in range(owners)),
    )
    _copy_rows(
        connection,
        "profile",
        ("id", "user_id"),
        ((owner + number, owner + number) for number in range(owners)),
    )
    _copy_rows(
        connection,
        "api_key",
        ("id", "user_id", "digest"),
        (
            (key + place, owner + place // KEYS_OF_ONE_OWNER, digest)
            for place, digest in enumerate(_all_digests(digests, keys, chance))
        ),
    )
    return texts


def _key_text(number: int) -> str:
    """Return the key with this number: the same in every run."""
    drawn = hashlib.shake_256(SEED + number.to_bytes(8, "big")).digest(RANDOM_BYTES)
    return ApiKeyFormat().make_api_key(drawn).text


def _all_digests(real: Mapping[int, bytes], keys: int, chance: random.Random) -> Iterator[bytes]:
    for place in range(keys):
        yield real.get(place) or chance.randbytes(DIGEST_BYTES)


def _copy_rows(
    connection: pysqlite3.Connection,
    table: str,
    columns: tuple[str, ...],
    rows: Iterator[tuple[object, ...]],
) -> None:
    """Write rows that differ from the newest row of the table in these columns only."""
    described = connection.execute(f"PRAGMA table_info({table})").fetchall()
    others = [name for _, name, *_ in described if name not in columns]
    quoted = ", ".join(f"quote({name})" for name in others)
    literals = connection.execute(f"SELECT {quoted} FROM {table} ORDER BY id DESC LIMIT 1").fetchone()
    marks = ["?"] * len(columns)
    statement = (
        f"INSERT INTO {table} ({', '.join([*columns, *others])}) VALUES ({', '.join([*marks, *literals])})"
    )
    while batch := list(islice(rows, ROWS_OF_ONE_STATEMENT)):
        connection.execute("BEGIN")
        connection.executemany(statement, batch)
        connection.execute("COMMIT")


def _one(connection: pysqlite3.Connection, question: str) -> int:
    found: int = connection.execute(question).fetchone()[0]
    return found
