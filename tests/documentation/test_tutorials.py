"""A newcomer follows the tutorials word for word, in a fresh clone, and sees what they print."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keyturn.core.api_key import ApiKeyFormat
from keyturn.documentation.build.sources import label_of, language_of
from tests.documentation.examples import PAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PRINTED_PORTS = ("8400", "9000", "8080")
SECONDS = 300
SERVERS = re.compile(r"keyturn serve|uvicorn |runserver|tutorial/api\.py$|^make run$")
"""Commands that stay in their terminal."""
NEEDS_A_BROWSER = "Sign in from the terminal"
KEY = re.compile(ApiKeyFormat().pattern)
VARIES = "…"
MADE = (".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "*.db", "*.egg-info", "dist", "tutorial")
"""Names of what is made in a checkout."""
NOT_NEEDED = ("tests", "bench")

pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None, reason="no curl: install curl to run these tests"
)


@dataclass(frozen=True)
class Command:
    """A line after a prompt, and what the tutorial shows under it."""

    text: str
    shown: tuple[str, ...]


@dataclass
class Newcomer:
    """Somebody at their terminals, in the folder of a clone. Other ports than the printed ones are theirs."""

    folder: Path
    ports: dict[str, int]
    home: Path
    servers: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)
    key: str = ""

    def __post_init__(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_DATA_HOME": str(self.home / "data"),
            "KEYTURN_PORT": str(self.ports["8400"]),
        } | {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
        self.shell = subprocess.Popen(
            ["bash", "--norc"],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def placed(self, text: str) -> str:
        for printed, own in self.ports.items():
            text = re.sub(rf"\b{printed}\b", str(own), text)
        return text

    def type(self, command: str) -> str:
        """Run one command in the terminal; return what it prints. It must do well."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.shell.stdin.write(f"{command}\necho; echo done $?\n")
        self.shell.stdin.flush()
        lines: list[str] = []
        for line in self.shell.stdout:
            if line.startswith("done "):
                assert line == "done 0\n", (command, "".join(lines))
                break
            lines.append(line)
        return "".join(lines)

    def start(self, command: str) -> None:
        """Run a server in a terminal of its own, with what was exported, until it listens."""
        exported = self.type("export -p")
        log = self.home / f"server-{len(self.servers)}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                ["bash", "-c", f"{exported}\nexec {command}"],
                cwd=self.folder,
                env={},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.servers.append((command, process))
        port = self.ports["9000" if "keyturn serve" not in command and "make" not in command else "8400"]
        deadline = time.monotonic() + SECONDS
        while not _listens(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        printed = KEY.search(log.read_text())
        self.key = printed.group() if printed is not None else self.key

    def restart(self) -> None:
        """Stop the server that was started last, and start it again, as after a change of its program."""
        command, process = self.servers.pop()
        _end(process)
        self.start(command)

    def leave(self) -> None:
        for _, process in reversed(self.servers):
            _end(process)
        self.shell.terminate()
        self.shell.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(SECONDS)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the repository, and nothing that was made in it."""
    folder = tmp_path_factory.mktemp("clone") / "keyturn"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*MADE, *NOT_NEEDED))
    return folder


@pytest.fixture
def newcomer(clone: Path, tmp_path: Path) -> Iterator[Newcomer]:
    ports = {}
    listeners = [socket.socket() for _ in PRINTED_PORTS]
    for printed, listener in zip(PRINTED_PORTS, listeners, strict=True):
        listener.bind(("127.0.0.1", 0))
        ports[printed] = listener.getsockname()[1]
    for listener in listeners:
        listener.close()
    configuration = clone / "docs" / "howto" / "gateways" / "nginx.conf"
    shutil.copy2(ROOT / configuration.relative_to(clone), configuration)
    reader = Newcomer(clone, ports, tmp_path)
    configuration.write_text(reader.placed(configuration.read_text()))
    yield reader
    reader.leave()
    shutil.rmtree(clone / "tutorial", ignore_errors=True)


def commands_of(text: str) -> Iterator[Command]:
    """Yield the commands of a console with what it shows; a command may go on after a backslash."""
    command, shown = "", []
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield Command(command, tuple(shown))
            command, shown = line[2:], []
        elif command.endswith("\\"):
            command += f"\n{line}"
        else:
            shown.append(line)
    if command:
        yield Command(command, tuple(shown))


def follow(newcomer: Newcomer, file: str, *, until: str | None = None) -> None:
    """Do what a tutorial says, from the first line to the last, or to a heading."""
    heading = ""
    tokens = PAGES[file].tokens
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = tokens[at + 1].content
        if until is not None and heading == until:
            return
        if token.type != "fence":
            continue
        label = label_of(token)
        if label is not None and "/" in label:
            (newcomer.folder / label).write_text(newcomer.placed(token.content))
        elif language_of(token) == "console":
            for command in commands_of(newcomer.placed(token.content)):
                do(newcomer, command)


def do(newcomer: Newcomer, command: Command) -> None:
    """Type one command; what it prints must be what is shown, but for what varies."""
    text = re.sub(rf"kt_{VARIES}", newcomer.key, command.text)
    if SERVERS.search(text):
        newcomer.start(text)
        return
    if text.startswith("rm -r"):
        for _, process in newcomer.servers:
            _end(process)
    printed = newcomer.type(text)
    for line in command.shown:
        for part in line.split(VARIES):
            assert part.strip().lower() in printed.lower(), (command.text, line, printed)
    if text.startswith("sed -i"):
        newcomer.restart()


@pytest.mark.parametrize("name", ["fastapi", "django", "nginx"])
def test_a_tutorial_works_word_for_word(newcomer: Newcomer, name: str) -> None:
    """Each command does well and prints what the tutorial shows."""
    if name == "nginx" and not Path("/usr/sbin/nginx").exists():
        pytest.skip("no nginx: install nginx-light to run this test")
    follow(newcomer, f"tutorials/{name}.md")


def test_the_first_key_works_word_for_word(newcomer: Newcomer) -> None:
    """Each command does well, up to where a browser is needed."""
    follow(newcomer, "tutorials/first-key.md", until=NEEDS_A_BROWSER)
