"""A verifier in a process of its own: a line for each credential in, and what it says of it out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from keyturn import CredentialRefused, KeyturnError, Verifier
from tests.journeys.processes import clean_environment

if TYPE_CHECKING:
    from typing import Self

ACCEPTED, REFUSED, UNAVAILABLE = "accepted", "refused", "unavailable"


class VerifierProcess:
    """Asks the process."""

    def __init__(self, address: str, key: str = "", *, follow: bool = True) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, address, key, "follow" if follow else "ask"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            env=clean_environment(),
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def verify(self, credential: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(credential, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()


def main() -> None:
    address, key, way = sys.argv[1:]
    with Verifier(address, key or None, follow=way == "follow") as verifier:
        print("ready", flush=True)
        for line in sys.stdin:
            print(answer(verifier, line.strip()), flush=True)


def answer(verifier: Verifier, credential: str) -> str:
    try:
        verifier.verify(f"Bearer {credential}")
    except CredentialRefused:
        return REFUSED
    except KeyturnError:
        return UNAVAILABLE
    return ACCEPTED


if __name__ == "__main__":
    main()
