"""Where a caller's servers and keys are kept: one file that nobody else may read, or the system's keyring."""

import fcntl
import os
import ssl
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import platformdirs

from keyturn.cli.remote import keyrings
from keyturn.core.loopback import check_address
from keyturn.core.own_credential import is_credential
from keyturn.errors import CannotStart, InvalidInput

DEFAULT_PROFILE = "default"
FILE_NAME = "profiles.json"
LOCK_SECONDS = 10.0
"""How long a command waits for another one, which may be asking a keyring."""
LOCK_PAUSE_SECONDS = 0.01
URL_VARIABLE, KEY_VARIABLE = "KEYTURN_URL", "KEYTURN_KEY"
"""Both set, they are the server and the key where no profile is named: for CI, which has no file."""
PROFILE_VARIABLE = "KEYTURN_PROFILE"
CA_FILE_VARIABLE = "KEYTURN_CA_FILE"
"""A file of certificates (PEM) to trust instead of the system's, where a profile names none of its own."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A server, and the key to call it with."""

    url: str
    key: str = field(repr=False)
    is_in_keyring: bool = False
    """Whether the system's keyring keeps the key, and the file only says so."""
    ca_file: str | None = None
    """A file of the certificates that are trusted for this server; None for those of the system."""

    @property
    def location(self) -> str:
        """Where the key is, for people."""
        return "the keyring of this system" if self.is_in_keyring else str(profiles_file())

    @property
    def tls(self) -> ssl.SSLContext | None:
        """How certificates of the server are verified; None for the system's way.

        Raise `CannotStart` for a file of certificates that cannot be used.
        """
        return tls_context(self.ca_file)


class _Stored(msgspec.Struct, omit_defaults=True, rename="camel"):
    url: str
    key: str | None = None
    """None when the keyring has it."""
    ca_file: str | None = None

    def __repr__(self) -> str:
        """Show nothing of the secret."""
        return "_Stored(…)"


def profiles_file() -> Path:
    """Return where the profiles are."""
    return platformdirs.user_config_path("keyturn") / FILE_NAME


def read_profile(name: str | None) -> Profile:
    """Return the profile that is named, or without a name the environment's, or the default one.

    Raise `InvalidInput` if there is none.
    """
    found = None if name is not None else _environment_profile()
    if found is not None:
        return found
    name = name or DEFAULT_PROFILE
    stored = _one_of(_read(profiles_file()), name)
    check_url(stored.url, f"{profiles_file()}, profile {name}")
    ca_file = stored.ca_file or os.environ.get(CA_FILE_VARIABLE) or None
    key = keyrings.find_key(name) if stored.key is None else stored.key
    if key is None:
        raise InvalidInput(
            "profile", f"The keyring has no key of the profile {name}: run `keyturn login --profile {name}`."
        )
    if not is_credential(key):
        raise InvalidInput(
            "profile", f"The key of the profile {name} is not a key: run `keyturn login --profile {name}`."
        )
    return Profile(stored.url, key, is_in_keyring=stored.key is None, ca_file=ca_file)


def describe_sign_in() -> str | None:
    """Return which server and key the commands use, without asking a server or a keyring; None for none.

    Raise `KeyturnError` for profiles or variables that cannot be used.
    """
    name = os.environ.get(PROFILE_VARIABLE) or None
    found = None if name is not None else _environment_profile()
    if found is not None:
        return f"{URL_VARIABLE} and {KEY_VARIABLE} sign you in to {found.url}."
    profiles = _read(profiles_file())
    stored = profiles.get(name or DEFAULT_PROFILE)
    others = ", ".join(sorted(profiles.keys() - {name or DEFAULT_PROFILE}))
    if stored is not None:
        more = f" Other profiles: {others}." if others else ""
        return f"You are signed in to {stored.url} (profile {name or DEFAULT_PROFILE}).{more}"
    return f"Name a profile with --profile or {PROFILE_VARIABLE}: {others}." if others else None


def name_to_keep(name: str | None) -> str:
    """Return under which name a command keeps or forgets a profile.

    Raise `InvalidInput` where the environment gives the key: what is kept would not be used.
    """
    if name is None and _environment_profile() is not None:
        raise InvalidInput(
            "profile",
            f"{KEY_VARIABLE} is set, and every command uses that key: unset it, or name the profile with "
            "--profile.",
        )
    return name or DEFAULT_PROFILE


def is_from_environment(name: str | None) -> bool:
    """Return whether the environment gives the server and the key where this profile is named, or none."""
    return name is None and _environment_profile() is not None


def _environment_profile() -> Profile | None:
    """Return the server and the key of the environment; raise `InvalidInput` if it has half of them."""
    url, key = os.environ.get(URL_VARIABLE), os.environ.get(KEY_VARIABLE)
    if not key:
        return None
    if not url:
        raise InvalidInput("url", f"{KEY_VARIABLE} is set and {URL_VARIABLE} is not: set both, or neither.")
    if not is_credential(key):
        raise InvalidInput("key", f"{KEY_VARIABLE} holds no key: set it to a whole key and nothing else.")
    check_url(url, URL_VARIABLE)
    return Profile(url.rstrip("/"), key, ca_file=os.environ.get(CA_FILE_VARIABLE) or None)


def check_url(url: str, where: str | None = None) -> None:
    """Raise `InvalidInput` for what is no server's address, or would send a key in clear over a network.

    Its sentence says `where` the address stands, if that is told.
    """
    try:
        check_address(url)
    except ValueError as error:
        sentence = sentence_of(error)
        raise InvalidInput("url", sentence if where is None else f"{where}: {sentence}") from None


def sentence_of(error: ValueError) -> str:
    """Return what was raised to be put into a sentence, as one of its own."""
    return f"{str(error)[0].upper()}{str(error)[1:]}."


def tls_context(ca_file: str | None) -> ssl.SSLContext | None:
    """Return what trusts the certificates of this file alone, None without a file.

    Raise `CannotStart` for a file that cannot be read or holds no certificate.
    """
    if ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise CannotStart(f"{ca_file} holds no certificate in PEM.") from None
    except OSError as error:
        raise CannotStart(f"{ca_file} cannot be read: {error.strerror}.") from None


def find_url(name: str) -> str | None:
    """Return the server that a profile or `KEYTURN_URL` names, None if neither does."""
    found = _read(profiles_file()).get(name)
    return os.environ.get(URL_VARIABLE) if found is None else found.url


def find_ca_file(name: str) -> str | None:
    """Return the file of certificates that is trusted for a profile's server, None for the system's."""
    found = _read(profiles_file()).get(name)
    return (None if found is None else found.ca_file) or os.environ.get(CA_FILE_VARIABLE) or None


def is_for_keyring(name: str, *, chosen: bool | None) -> bool:
    """Return whether the key of a profile goes into the keyring: as is chosen, or as it was."""
    found = _read(profiles_file()).get(name)
    return chosen if chosen is not None else found is not None and found.key is None


def write_profile(name: str, profile: Profile) -> None:
    """Keep a profile, in the place of one of the same name; raise `CannotStart` if it cannot be kept.

    Until it is, the one before stays as it was.
    """
    file = profiles_file()
    with _alone(file):
        profiles = _read(file)
        before = profiles.get(name)
        if profile.is_in_keyring:
            keyrings.keep_key(name, profile.key)
        key = None if profile.is_in_keyring else profile.key
        profiles[name] = _Stored(profile.url, key, profile.ca_file)
        _write(file, profiles)
    if not profile.is_in_keyring and before is not None and before.key is None:
        with suppress(CannotStart):  # What is not there any more, or cannot be reached, is not kept there.
            keyrings.forget_key(name)


def remove_profile(name: str) -> None:
    """Forget a profile and its key; raise `InvalidInput` if there is none of this name."""
    file = profiles_file()
    _one_of(_read(file), name)  # Before a folder is made for nothing.
    with _alone(file):
        profiles = _read(file)
        if _one_of(profiles, name).key is None:
            keyrings.forget_key(name)
        del profiles[name]
        _write(file, profiles)


def _one_of(profiles: dict[str, _Stored], name: str) -> _Stored:
    found = profiles.get(name)
    if found is None:
        flag = "" if name == DEFAULT_PROFILE else f" --profile {name}"
        raise InvalidInput(
            "profile",
            f"There is no profile {name}: run `keyturn login https://…{flag}` or "
            f"`keyturn configure{flag}` first.",
        )
    return found


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Let no other process change the profiles in this block: each writes what all of them have kept.

    Raise `CannotStart` if another one does not come to its end.
    """
    lock = file.with_name(f".{file.name}.lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(f"{lock} cannot be made: {error.strerror}.") from None
    try:
        until = time.monotonic() + LOCK_SECONDS
        while not _has_locked(opened):
            if time.monotonic() >= until:
                raise CannotStart(f"Another keyturn is changing {file} and does not end: try again.")
            time.sleep(LOCK_PAUSE_SECONDS)
        yield
    finally:
        os.close(opened)


def _has_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(file: Path, profiles: dict[str, _Stored]) -> None:
    try:
        _replace(file, msgspec.json.format(msgspec.json.encode(profiles)))
    except OSError as error:
        raise CannotStart(f"{file} cannot be written: {error.strerror}.") from None


def _replace(file: Path, content: bytes) -> None:
    """Write a file that only its owner can read: all of it, or the one that was there."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(descriptor)
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)  # It holds keys, or none of anything.
        raise


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
        raise CannotStart(f"{file} is not a file of profiles: mend it, or move it away.") from None
