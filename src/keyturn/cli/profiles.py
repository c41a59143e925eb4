"""Where a caller's servers and keys are kept: one file that nobody else may read, or the system's keyring."""

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import platformdirs

from keyturn.cli import keyrings
from keyturn.core.own_credential import is_credential
from keyturn.errors import CannotStart, InvalidInput

DEFAULT_PROFILE = "default"
FILE_NAME = "profiles.json"


@dataclass(frozen=True, slots=True)
class Profile:
    """A server, and the key to call it with."""

    url: str
    key: str = field(repr=False)
    is_in_keyring: bool = False
    """Whether the system's keyring keeps the key, and the file only says so."""

    @property
    def place(self) -> str:
        """Where the key is, for people."""
        return "the keyring of this system" if self.is_in_keyring else str(profiles_file())


class _Stored(msgspec.Struct, omit_defaults=True):
    url: str
    key: str | None = None
    """None when the keyring has it."""

    def __repr__(self) -> str:
        """Show nothing of the secret."""
        return "_Stored(…)"


def profiles_file() -> Path:
    """Return where the profiles are."""
    return platformdirs.user_config_path("keyturn") / FILE_NAME


def read_profile(name: str) -> Profile:
    """Return a profile; raise `InvalidInput` if there is none of this name."""
    found = _one_of(_read(profiles_file()), name)
    key = keyrings.find_key(name) if found.key is None else found.key
    if key is None:
        raise InvalidInput(
            "profile", f"The keyring has no key of the profile {name}: run `keyturn login --profile {name}`."
        )
    if not is_credential(key):
        raise InvalidInput(
            "profile", f"The key of the profile {name} is no key: run `keyturn login --profile {name}`."
        )
    return Profile(found.url, key, is_in_keyring=found.key is None)


def find_url(name: str) -> str | None:
    """Return the server of a profile, None if there is no profile of this name."""
    found = _read(profiles_file()).get(name)
    return None if found is None else found.url


def is_for_keyring(name: str, *, chosen: bool | None) -> bool:
    """Return whether the key of a profile goes into the keyring: as is chosen, or as it was."""
    found = _read(profiles_file()).get(name)
    return chosen if chosen is not None else found is not None and found.key is None


def write_profile(name: str, profile: Profile) -> None:
    """Keep a profile, in the place of one of the same name; raise `CannotStart` if it cannot be kept.

    Until it is, the one before stays as it was.
    """
    file = profiles_file()
    profiles = _read(file)
    before = profiles.get(name)
    if profile.is_in_keyring:
        keyrings.keep_key(name, profile.key)
    profiles[name] = _Stored(profile.url, None if profile.is_in_keyring else profile.key)
    _write(file, profiles)
    if not profile.is_in_keyring and before is not None and before.key is None:
        with suppress(CannotStart):  # What is not there any more, or cannot be reached, is not kept there.
            keyrings.forget_key(name)


def remove_profile(name: str) -> None:
    """Forget a profile and its key; raise `InvalidInput` if there is none of this name."""
    file = profiles_file()
    profiles = _read(file)
    if _one_of(profiles, name).key is None:
        keyrings.forget_key(name)
    del profiles[name]
    _write(file, profiles)


def _one_of(profiles: dict[str, _Stored], name: str) -> _Stored:
    found = profiles.get(name)
    if found is None:
        raise InvalidInput(
            "profile",
            f"There is no profile {name}: run `keyturn login --profile {name}` or "
            f"`keyturn configure --profile {name}` first.",
        )
    return found


def _write(file: Path, profiles: dict[str, _Stored]) -> None:
    try:
        _replace(file, msgspec.json.format(msgspec.json.encode(profiles)))
    except OSError as error:
        raise CannotStart(f"{file} cannot be written: {error.strerror}.") from None


def _replace(file: Path, content: bytes) -> None:
    """Write a file that only its owner can read: all of it, or the one that was there."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(descriptor)
    draft.replace(file)


def _read(file: Path) -> dict[str, _Stored]:
    """Return all profiles, none without a file; raise `CannotStart` for a file that others can read."""
    try:
        with file.open("rb") as opened:
            if stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o077:
                raise CannotStart(f"Other users can read {file}, which holds keys: run chmod 600 {file}.")
            return msgspec.json.decode(opened.read(), type=dict[str, _Stored])
    except FileNotFoundError:
        return {}
    except (msgspec.ValidationError, msgspec.DecodeError):
        raise CannotStart(f"{file} is no file of profiles: mend it, or move it away.") from None
