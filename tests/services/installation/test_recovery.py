"""Recovery shares: enough of them make the root key, fewer or wrong ones write nothing."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pytest

from keyturn.composition import open_recovery
from keyturn.errors import CannotStart, Conflict, InvalidInput, InvalidState
from keyturn.services.installation.recovery import combined, needed
from keyturn.services.installation.root_keys import new_root_key
from keyturn.settings import read_settings
from tests.people import caller
from tests.services.installation.test_root_key_rotation import World, new_world

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.composition import Services
    from keyturn.core.principal import Principal


@pytest.fixture
def world(services: Services, admin: Principal, root_key_file: Path) -> World:
    return new_world(services, admin, root_key_file)


def split(world: World, shares: int = 5, threshold: int = 3) -> list[str]:
    with open_recovery(world.services.settings, world.services.system) as recovery:
        return recovery.shares.split(shares=shares, threshold=threshold)[1]


def combine(world: World, shares: list[str], **settings: object) -> None:
    given = read_settings({"KEYTURN_DATABASE": world.services.settings.database}, **settings)
    with open_recovery(given, world.services.system) as recovery:
        recovery.shares.combine(shares)


def test_any_three_of_five_shares_write_the_same_file(world: World) -> None:
    """Whichever shares are there, as many as are needed, the file is what it was."""
    shares, before = split(world), world.file.read_text().strip()
    assert [len(share.split()) for share in shares] == [33] * 5
    assert {needed(share) for share in shares} == {3}

    for some in combinations(shares, 3):
        world.file.unlink()
        combine(world, list(some), root_key_file=world.file)
        assert world.file.read_text().strip() == before
        assert world.file.stat().st_mode & 0o777 == 0o600
    world.check_all_is_readable()


def test_shares_are_read_as_people_write_them(world: World) -> None:
    """Capitals, spaces, empty lines, and one share twice, make no difference."""
    shares, before = split(world), world.file.read_text().strip()
    world.file.unlink()

    combine(
        world,
        ["", f"  {shares[0].upper()} ", shares[0], shares[1].replace(" ", "   "), shares[4], ""],
        root_key_file=world.file,
    )

    assert world.file.read_text().strip() == before


def test_too_few_or_wrong_shares_write_nothing(world: World) -> None:
    """Each mistake is told, without a word of a share, and there is no file after it."""
    shares, others = split(world), split(world)
    world.file.unlink()
    words = shares[1].split()
    for wrong, says in (
        ([], "0 different shares"),
        (shares[:2], "2 different shares, and 3 are needed"),
        ([shares[0]] * 3, "1 different shares, and 3 are needed"),
        ([shares[0], " ".join(words[:-1]), shares[2]], "Share 2 is not"),
        ([shares[0], " ".join([*words[:-1], "zero"]), shares[2]], "Share 2 is not"),
        ([shares[0], "kt_secret", shares[2]], "Share 2 is not"),
        ([*shares[:2], others[2]], "not made together"),
        (shares, "not made together"),
    ):
        with pytest.raises(InvalidInput, match=says) as refused:
            combine(world, wrong, root_key_file=world.file)
        assert refused.value.__suppress_context__
        assert not set(words[4:]) & set(str(refused.value).split())
        assert not world.file.exists()


def test_shares_of_another_root_key_write_nothing(world: World) -> None:
    """Shares from before a rotation make a root key that the database refuses."""
    shares = split(world)
    world.put_first()
    world.rotate()
    world.keep_first()
    world.file.unlink()

    with pytest.raises(InvalidState, match="take the shares that were made last"):
        combine(world, shares[:3], root_key_file=world.file)

    assert not world.file.exists()


def test_a_file_that_is_there_stays(world: World) -> None:
    """A root key file is never replaced, whatever is in it."""
    shares = split(world)
    world.file.write_text("something else")

    with pytest.raises(Conflict, match="stays as it is"):
        combine(world, shares[:3], root_key_file=world.file)

    assert world.file.read_text() == "something else"


def test_shares_open_everything(world: World) -> None:
    """While a row needs a former root key, no shares are made; nor of a root key that is not given."""
    world.swap("a", "b")
    world.put_first()
    world.rotate()
    with pytest.raises(InvalidState, match="rotate first"):
        split(world)
    world.file.write_text(new_root_key(world.services.system))
    with pytest.raises(InvalidState, match="is not given here"):
        split(world)


@pytest.mark.parametrize(("shares", "threshold"), [(17, 3), (5, 6), (5, 1), (5, 0), (0, 0)])
def test_useless_shares_are_not_made(world: World, shares: int, threshold: int) -> None:
    """Shares that each are the key, more than are numbered, or fewer than are needed are refused."""
    with pytest.raises(InvalidInput):
        split(world, shares, threshold)


def test_where_a_command_gives_the_root_key_no_file_is_written(world: World) -> None:
    """Keyturn writes no file that nothing reads."""
    with pytest.raises(CannotStart, match="set KEYTURN_ROOT_KEY_FILE"):
        combine(world, split(world)[:3], root_key_command="false")


def test_a_single_share_is_the_key_in_words(world: World) -> None:
    """One share is a printed recovery key."""
    (share,) = split(world, 1, 1)

    assert len(combined([share])) == 32
    assert caller(world.services, world.reveal("a")).userid
