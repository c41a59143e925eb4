"""A store over a fresh database, ready to be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.store import Store, open_engine
from tests.store.rows import NOW, SEAL, a_user, an_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """An engine with the newest schema."""
    opened = open_engine(database)
    try:
        yield opened
    finally:
        opened.dispose()


@pytest.fixture
def store(engine: Engine) -> Store:
    """A store that was begun and holds nothing."""
    made = Store(engine)
    made.installation.begin(SEAL, NOW)
    return made


@pytest.fixture
def bob(store: Store) -> int:
    """The id of a user."""
    return store.users.add(a_user(), an_entry()).user_id
