"""Root keys: where they come from, and the file of an embedded database, which Keyturn itself writes."""

import fcntl
import os
import shlex
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from keyturn.core.encoding import EncodingError, base64url_decode, base64url_encode
from keyturn.errors import CannotStart, Conflict
from keyturn.system import System

ROOT_KEY_BYTES = 32
MAX_ROOT_KEYS = 8
"""More are an oversight: only one seals, and a former one opens what a rotation has still to renew."""
COMMAND_TIMEOUT_SECONDS = 30

_FILE_BYTES = 4096


def read_root_keys(
    *,
    file: Path | None,
    command: str | None,
    may_create: bool,
    system: System,
    kind: str = "root key",
) -> tuple[bytes, ...]:
    """Return the root keys, one a line, from their file or the command that prints them.

    The first is the newest. With `may_create` a missing file is made, mode 0600. Raise `CannotStart` saying
    what to do for anything else: there is no default key (S2). `kind` names the keys in what that says.
    """
    if command is not None:
        return _decode(_run(command), source="what KEYTURN_ROOT_KEY_COMMAND prints")
    if file is None:
        raise CannotStart(
            "With PostgreSQL the root key must be given: set KEYTURN_ROOT_KEY_FILE to a file, the same on "
            "all nodes, made with `umask 077; keyturn admin root-key > root.key`."
        )
    if may_create and not file.exists():
        create_root_key_file(file, system.random_bytes(ROOT_KEY_BYTES), system)
    try:
        # Not blocking: the file could be a pipe that nobody writes to.
        opened = os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    except OSError as error:
        raise CannotStart(
            f"The {kind} file {file} cannot be read ({error.strerror}): restore it from where you keep it; "
            "without it nothing that it encrypts can be opened."
        ) from error
    with opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CannotStart(f"The {kind} file {file} is not a file: name the file that holds the key.")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise CannotStart(f"Other users can read the {kind} file {file}: run chmod 600 {file}.")
        return _decode(opened.read(_FILE_BYTES), source=f"the {kind} file {file}")


def new_root_key(system: System) -> str:
    """Return a new root key as the line that its file holds."""
    return _line(system.random_bytes(ROOT_KEY_BYTES))


class RootKeyFile:
    """A file of root keys that is Keyturn's own to write."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other rotations off this file.

        Raise `Conflict` while one is under way, `CannotStart` where nothing can be locked.
        """
        with ExitStack() as held:
            try:
                # The folder, since the file itself is replaced. The lock ends with its process.
                folder = os.open(self._path.parent, os.O_RDONLY)
                held.callback(os.close, folder)
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict("Another rotation of this root key is under way.") from None
            except OSError as error:
                raise self._unwritable(error) from error
            yield

    def replace(self, keys: Sequence[bytes]) -> None:
        """Let the file hold these keys and no others: whole, or not at all after a power cut.

        For whoever holds the lock. Raise `CannotStart` where the file cannot be written.
        """
        # One name, so that what a killed rotation left is written over and not left for ever.
        draft = self._path.with_name(f".{self._path.name}.next")
        try:
            with suppress(FileNotFoundError):
                draft.unlink()
            like = self._path if self._path.exists() else self._path.parent
            _write(draft, "".join(map(_line, keys)), like=like)
            draft.replace(self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            raise self._unwritable(error) from error

    def set_aside(self) -> None:
        """Give a file that holds no root key another name: nobody knows what it is, so it is kept.

        For whoever holds the lock. Raise `CannotStart` where it cannot be renamed.
        """
        try:
            self._path.replace(self._path.with_name(f"{self._path.name}.unreadable"))
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> CannotStart:
        return CannotStart(
            f"The root key file {self._path} cannot be written ({error.strerror}): "
            "run this as the user of the server."
        )


def create_root_key_file(file: Path, key: bytes, system: System) -> None:
    """Write a root key so that the file is there whole or not at all, also after a power cut.

    A file that is there stays as it is. Raise `CannotStart` where none can be written.
    """
    try:
        _create(file, _line(key), system)
    except OSError as error:
        raise CannotStart(
            f"The root key file {file} cannot be written ({error.strerror}): "
            "run this as the user of the server."
        ) from error


def _create(file: Path, text: str, system: System) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{file.name}.{system.random_bytes(8).hex()}")
    _write(draft, text)
    try:
        os.link(draft, file)  # Unlike a rename this never replaces a key that another process just made.
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    _sync_folder(file.parent)


def _write(draft: Path, text: str, *, like: Path | None = None) -> None:
    """Write a new file that is on the disk when this returns, for the owner of `like`."""
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        if like is not None and os.geteuid() == 0:
            owner = like.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        opened.write(text)
        opened.flush()
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _run(command: str) -> bytes:
    try:
        program, *arguments = shlex.split(command)
        done = subprocess.run(  # noqa: S603 - the operator's own command, split without a shell
            [program, *arguments], capture_output=True, timeout=COMMAND_TIMEOUT_SECONDS, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise CannotStart(
            f"KEYTURN_ROOT_KEY_COMMAND failed ({type(error).__name__}): run it by hand to see why."
        ) from None
    return done.stdout


def _line(key: bytes) -> str:
    return base64url_encode(key).decode("ascii") + "\n"


def _decode(text: bytes, *, source: str) -> tuple[bytes, ...]:
    try:
        keys = tuple(dict.fromkeys(base64url_decode(line) for line in text.split()))
    except EncodingError:
        keys = ()
    if not keys or any(len(key) != ROOT_KEY_BYTES for key in keys):
        raise CannotStart(
            f"There is no root key in {source}: it must be 32 bytes as base64url without padding, "
            "and each further one on a line of its own."
        )
    if len(keys) > MAX_ROOT_KEYS:
        raise CannotStart(
            f"There are more than {MAX_ROOT_KEYS} root keys in {source}: remove those that no row needs."
        )
    return keys
