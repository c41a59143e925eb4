"""Where a caller's servers and keys are kept: one file that nobody else may read."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import platformdirs

from keyturn.errors import CannotStart, InvalidInput

DEFAULT_PROFILE = "default"
FILE_NAME = "profiles.json"


@dataclass(frozen=True, slots=True)
class Profile:
    """A server, and the key to call it with."""

    url: str
    key: str = field(repr=False)


class _Stored(msgspec.Struct):
    url: str
    key: str

    def __repr__(self) -> str:
        """Show nothing of the secret."""
        return "_Stored(…)"


def profiles_file() -> Path:
    """Return where the profiles are."""
    return platformdirs.user_config_path("keyturn") / FILE_NAME


def read_profile(name: str) -> Profile:
    """Return a profile; raise `InvalidInput` if there is none of this name."""
    found = _read(profiles_file()).get(name)
    if found is None:
        raise InvalidInput(
            "profile", f"There is no profile {name}: run `keyturn configure --profile {name}` first."
        )
    return Profile(found.url, found.key)


def write_profile(name: str, profile: Profile) -> None:
    """Keep a profile, in the place of one of the same name."""
    file = profiles_file()
    profiles = _read(file)
    profiles[name] = _Stored(profile.url, profile.key)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(msgspec.json.format(msgspec.json.encode(profiles)))
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
