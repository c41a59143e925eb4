"""A storm of wrong sign-ins costs a worker a bounded amount of memory."""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from keyturn.services.people.identity.passwords import MAX_AT_ONCE, MAX_WAITING
from tests.journeys.processes import serving

if TYPE_CHECKING:
    from tests.journeys.processes import ServerProcess

AT_ONCE = 30
ROUNDS = 4
RESIDENT_MIB = 256
"""What docs/reference/settings.md promises for one worker."""
DATA_MIB = 512
"""The limit that the system enforces (RLIMIT_DATA): heaps, and the whole stack of each thread."""


def most_resident_mib(server: ServerProcess) -> float:
    status = Path(f"/proc/{server.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


@pytest.mark.faults
def test_fault_f2_wrong_sign_ins_at_once_cost_bounded_memory(tmp_path: Path) -> None:
    """Thirty at once, again and again, under a limit of memory: each is answered, none as a defect."""
    unlimited = {"KEYTURN_SIGN_IN_FAILURES_PER_MINUTE": "1000000"}
    with serving(f"sqlite:///{tmp_path / 'keyturn.db'}", tmp_path, environment=unlimited) as server:
        limit = DATA_MIB * 1024 * 1024
        psutil.Process(server.pid).rlimit(psutil.RLIMIT_DATA, (limit, limit))

        def guess(number: int) -> int:
            form = {"userid": f"nobody-{number}", "password": "four wrong grey words"}
            return httpx.post(f"{server.url}/login", data=form, timeout=60).status_code

        with ThreadPoolExecutor(AT_ONCE) as strangers:
            statuses = Counter(strangers.map(guess, range(AT_ONCE * ROUNDS)))
        assert statuses.keys() <= {401, 503}
        assert statuses[401] >= MAX_AT_ONCE + MAX_WAITING
        assert most_resident_mib(server) < RESIDENT_MIB
        assert httpx.get(f"{server.url}/health/live").status_code == 200
