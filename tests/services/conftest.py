"""A person and their browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from keyturn.composition import Services, open_services
from keyturn.core.permissions import Permission
from keyturn.services.passwords import CHEAPEST
from keyturn.settings import read_settings
from tests.conftest import NO_WAITS
from tests.services.people import add_person, holder, person

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.core.principal import Principal
    from tests.fakes import Clock

Opener = Callable[..., Services]


@pytest.fixture
def reopen(database: str, clock: Clock, root_key_file: Path) -> Iterator[Opener]:
    """Open the services over the same database again, as after a restart or on another node."""
    opened: list[Services] = []

    def open_again(**settings: object) -> Services:
        chosen = read_settings(
            {"KEYTURN_DATABASE": database}, **{"root_key_file": root_key_file, **NO_WAITS, **settings}
        )
        opened.append(open_services(chosen, clock.system(), hashing=CHEAPEST))
        return opened[-1]

    yield open_again
    for services in opened:
        services.close()


@pytest.fixture
def admin(services: Services) -> Principal:
    """Ada, who holds every permission, signed in with a browser."""
    return holder(services, "ada", *Permission)


@pytest.fixture
def bob(services: Services) -> Principal:
    """Bob, signed in with a browser."""
    add_person(services)
    return person(services)
