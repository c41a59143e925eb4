"""Build deploy/container/Containerfile and run what comes out.

The base is a minimal Debian with Python, made by debootstrap. buildah builds with the isolation of a chroot,
which needs no more than root. The image runs with its own variables, user and commands, which are read from
it, in a mount namespace: its root is read-only, its volume a folder, its network that of this machine.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.floors.__main__ import run
from tests.journeys.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SUITE = "bookworm"
"""Its Python is 3.11, as that of these tests: the packages that pip brings here fit there."""
BASE, IMAGE = "localhost/keyturn-base", "localhost/keyturn"
SECONDS = 60
NOT_IN_A_SERVER = ("pip", "hatchling", "pytest")
_IN_READ_ONLY_ROOT = """
set -e
mount --bind "$1" "$1"
mount -o remount,ro,bind "$1"
mount --rbind /dev "$1/dev"
mount --rbind /proc "$1/proc"
mount --bind "$2" "$1$3"
root=$1 user=$4 group=$5
shift 5
exec chroot "$root" setpriv --reuid "$user" --regid "$group" --clear-groups --pdeathsig KILL "$@"
"""


def main() -> None:
    """Build the image, run it, and end with an error at the first thing that is wrong."""
    # On a disk: debootstrap makes devices, which no file system in memory takes.
    with tempfile.TemporaryDirectory(prefix="keyturn-image-", dir="/var/tmp") as made:
        folder = Path(made)
        buildah = Buildah(folder)
        for name, step in (
            ("Debian", lambda: make_base(folder, buildah)),
            ("packages", lambda: bring_packages(folder)),
            ("image", lambda: build(folder, buildah)),
            ("run", lambda: check_image(folder, buildah)),
        ):
            begun = time.monotonic()
            step()
            print(f"image, {name}: {time.monotonic() - begun:.0f} s", flush=True)
    print("The image builds, and serves from a read-only root as a user without rights.")


@dataclass(frozen=True)
class Buildah:
    """buildah with everything that it keeps in one folder."""

    folder: Path

    def __call__(self, command: str, *arguments: str) -> str:
        policy = self.folder / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        options = ("--root", str(self.folder / "images"), "--runroot", str(self.folder / "state"))
        signed = ("--signature-policy", str(policy)) if command in {"from", "commit", "bud"} else ()
        done = subprocess.run(
            ["buildah", *options, "--storage-driver", "vfs", command, *signed, *arguments],
            capture_output=True,
            text=True,
            timeout=10 * SECONDS,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{done.stdout}\n{done.stderr}\nbuildah {command} failed with {done.returncode}")
        return done.stdout.strip()


def make_base(folder: Path, buildah: Buildah) -> None:
    """Make an image of a minimal Debian with Python."""
    base = folder / "base"
    run("debootstrap", "--variant=minbase", "--include=python3-venv", SUITE, str(base), *mirror())
    for unneeded in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
        run("rm", "-rf", str(base / unneeded))
    buildah("from", "--name", "base", "scratch")
    buildah("copy", "--quiet", "base", str(base), "/")
    buildah("commit", "--rm", "base", BASE)
    run("rm", "-rf", str(base))


def mirror() -> tuple[str, ...]:
    """Return from where this machine itself takes Debian's packages; nothing for debootstrap's own choice."""
    for file in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")):
        if not file.is_file():
            continue
        for line in file.read_text().splitlines():
            words = line.split()
            if words[:1] in (["URIs:"], ["deb"]):
                return (next(word for word in words[1:] if "://" in word),)
    return ()


def bring_packages(folder: Path) -> None:
    """Bring the packages of the lock file, so that the build needs no index."""
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
    lock = str(ROOT / "requirements" / "server.txt")
    run(*pip, "--require-hashes", "--requirement", lock, "--dest", str(folder / "packages"))


def build(folder: Path, buildah: Buildah) -> None:
    """Build the image as the documentation says, with packages from a folder."""
    container = ROOT / "deploy" / "container"
    given = {"BASE": BASE, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/packages"}
    buildah(
        "bud",
        "--format=docker",
        "--isolation=chroot",
        "--pull-never",
        f"--volume={folder / 'packages'}:/packages:ro",
        *(f"--build-arg={name}={value}" for name, value in given.items()),
        f"--ignorefile={container / 'Containerfile.dockerignore'}",
        f"--tag={IMAGE}",
        f"--file={container / 'Containerfile'}",
        str(ROOT),
    )


def check_image(folder: Path, buildah: Buildah) -> None:
    """Run the image, ask it, and stop it, in a container of its own."""
    config = json.loads(buildah("inspect", "--type=image", IMAGE))["Docker"]["config"]
    assert config["User"] == "8400:8400", config
    assert list(config["Volumes"]) == ["/var/lib/keyturn"], config
    assert (config["Entrypoint"], config["Cmd"]) == (["keyturn"], ["serve"]), config
    assert config["StopSignal"] in {"SIGTERM", "15"}, config
    buildah("from", "--name", "container", "--pull-never", IMAGE)
    container = Container(Path(buildah("mount", "container")), folder / "volume", config)
    container.make_volume()
    refused = container.run("keyturn", "serve")
    assert refused.returncode == 1, refused
    assert "KEYTURN_PUBLIC_URL" in refused.stderr, "the image chooses no address for its operator"
    for name in NOT_IN_A_SERVER:
        assert container.run("python", "-c", f"import {name}").returncode == 1, name
    assert "Read-only" in container.run("sh", "-c", "echo x > /opt/keyturn/x").stderr
    check_server(container)


def check_server(container: Container) -> None:
    """Begin an installation on the volume, serve it, and end in order."""
    port = free_port()
    here = {"KEYTURN_HOST": "127.0.0.1", "KEYTURN_PORT": str(port)}
    with container.running({**here, "KEYTURN_NEW_INSTALLATION": "true"}) as process:
        wait_until_ready(port, process)
        health = container.config["Healthcheck"]["Test"]
        assert health[0] == "CMD", health
        assert container.run(*health[1:], **here).returncode == 0
        assert container.run(*health[1:], KEYTURN_PORT="1").returncode == 1, "the check can fail"
        made = container.run("keyturn", "admin", "check", **here)
        assert made.returncode == 0, made.stderr
        page = httpx.get(f"http://127.0.0.1:{port}/docs.md", trust_env=False)
        assert page.status_code == httpx.codes.OK, page
        files = {file.name: (file.stat().st_uid, file.stat().st_mode & 0o777) for file in container.files()}
        assert files["keyturn.db"] == files["root.key"] == (8400, 0o600), files
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


@dataclass(frozen=True)
class Container:
    """The files of a container with their volume, and what the image says about running it."""

    root: Path
    volume: Path
    config: dict[str, Any]

    def make_volume(self) -> None:
        """Make an empty volume that belongs to the user of the image, as its folder does."""
        self.volume.mkdir(mode=0o700)
        os.chown(self.volume, 8400, 8400)

    def files(self) -> Iterator[Path]:
        """Yield what is in the volume."""
        return self.volume.iterdir()

    def command(self, *command: str, **variables: str) -> list[str]:
        """Return the command that runs another one in the container."""
        user, group = self.config["User"].split(":")
        (at,) = self.config["Volumes"]
        set_up = ("unshare", "--mount", "sh", "-c", _IN_READ_ONLY_ROOT, "sh")
        placed = (str(self.root), str(self.volume), at, user, group)
        environment = [*self.config["Env"], *(f"{name}={value}" for name, value in variables.items())]
        return [*set_up, *placed, "env", "-i", *environment, *command]

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        given = self.command(*command, **variables)
        return subprocess.run(given, capture_output=True, text=True, timeout=SECONDS, check=False)

    @contextmanager
    def running(self, variables: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        """Run what the image runs, until the block ends."""
        begins = (*self.config["Entrypoint"], *self.config["Cmd"])
        process = subprocess.Popen(self.command(*begins, **variables))
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server in the container accepts connections."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, "the server ended"
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the server is not ready")


if __name__ == "__main__":
    main()
