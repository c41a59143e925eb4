"""Load from wrk, which must be on the path: bounded in time, on the client's core, to loopback alone."""

import json
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.errors import NotMeasured
from bench.processors import CLIENT_CORE, pinned
from bench.wire import HOST, Request

SCRIPT = Path(__file__).with_name("load.lua")
TIMEOUT_SECONDS = 10
"""How long wrk waits for one answer."""
GRACE_SECONDS = 30
"""How long past its time wrk may take to end."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk saw."""

    requests: int
    """Answers received, whatever their status."""
    seconds: float
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    longest_ms: float
    error_statuses: int
    """Answers with a status of 400 or more."""
    failures: int
    """Requests without an answer: connections refused or cut, and time-outs."""


def apply_load(port: int, requests: Iterable[Request], *, connections: int, seconds: int) -> Load:
    """Send the requests in turn, as fast as they are answered; raise `NotMeasured` if wrk cannot."""
    with tempfile.NamedTemporaryFile(prefix="bench-requests-") as file:
        for request in requests:
            file.write(request.encoded(port) + b"\0")
        file.flush()
        command = pinned(
            CLIENT_CORE,
            *(
                "wrk",
                "--timeout",
                f"{TIMEOUT_SECONDS}s",
                "--threads",
                "1",
                "--connections",
                str(connections),
                "--duration",
                f"{seconds}s",
            ),
            *("--script", str(SCRIPT), f"http://{HOST}:{port}", "--", file.name),
        )
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds + GRACE_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NotMeasured(f"wrk failed: {error}") from error
    return _read(done.stdout.splitlines()[-1])


def _read(line: str) -> Load:
    seen = json.loads(line)
    seconds = seen["microseconds"] / 1e6
    return Load(
        requests=seen["requests"],
        seconds=seconds,
        requests_per_second=seen["requests"] / seconds,
        p50_ms=seen["p50"] / 1e3,
        p99_ms=seen["p99"] / 1e3,
        longest_ms=seen["longest"] / 1e3,
        error_statuses=seen["statuses"],
        failures=seen["failures"],
    )
