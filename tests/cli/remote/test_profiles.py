"""The file of profiles, when several commands change it and when its disk is full."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from keyturn.cli.remote import profiles
from keyturn.cli.remote.profiles import (
    Profile,
    profiles_file,
    read_profile,
    write_profile,
)
from keyturn.errors import CannotStart

if TYPE_CHECKING:
    from pathlib import Path

AT_ONCE, EACH, SECONDS = 6, 12, 60
KEEP = """
import sys
from keyturn.cli.remote.profiles import Profile, write_profile
print(flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    write_profile(f"{sys.argv[1]}-{number}", Profile("https://keys.example.com", "0" * 31 + "7"))
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_what_many_keep_at_once_is_kept() -> None:
    """No profile is lost while several processes keep theirs at once."""
    keeping = [
        subprocess.Popen(
            [sys.executable, "-c", KEEP, str(name), str(EACH)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in range(AT_ONCE)
    ]
    for process in keeping:
        assert process.stdout is not None
        process.stdout.readline()
    for process in keeping:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in keeping:
        process.communicate(timeout=SECONDS)
        assert process.returncode == 0
    assert len(profiles._read(profiles_file())) == AT_ONCE * EACH


def test_a_full_disk_leaves_the_file_and_no_draft() -> None:
    """A profile that cannot be written leaves what was there, and nothing with a key beside it."""
    kept = Profile("https://keys.example.com", "0f7d9b1c5e3a48268f0a6c4e2d1b7a93")
    write_profile("default", kept)
    before = sorted(profiles_file().parent.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
    try:
        with pytest.raises(CannotStart) as refused:
            write_profile("other", kept)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot be written" in str(refused.value)
    assert sorted(profiles_file().parent.iterdir()) == before
    assert read_profile("default") == kept


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that finds another one changing the profiles, which does not end, says so."""
    monkeypatch.setattr(profiles, "LOCK_SECONDS", 0.0)
    with profiles._alone(profiles_file()), pytest.raises(CannotStart, match="does not end"):
        write_profile("default", Profile("https://keys.example.com", "0f7d9b1c5e3a48268f0a6c4e2d1b7a93"))
