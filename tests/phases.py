"""The two phases of `make test`: tests that work, and tests that mostly wait, of which more run at once.

A test of the second phase starts programs, and waits for time-outs, for browsers and for gateways: it takes
many seconds and little of a processor. It is told from the others by its file, so that neither phase reads
the files of the other.
"""

from __future__ import annotations

from pathlib import Path

from xdist.scheduler import LoadFileScheduling

TESTS = Path(__file__).parent
WORKING, WAITING = "working", "waiting"
FILES_THAT_WAIT = tuple(
    TESTS / name
    for name in (
        "adapters/test_rogues.py",
        "adapters/test_target_process.py",
        "cli/admin/test_doctor.py",
        "cli/remote/test_login.py",
        "cli/test_process.py",
        "cli/test_serve.py",
        "cli/test_unix_socket.py",
        "gateways",
        "integrations/test_late_openings.py",
        "integrations/test_root_paths.py",
        "journeys",
        "replica/test_asking.py",
        "replica/test_disturbances.py",
        "replica/test_following.py",
        "replica/test_introspection.py",
        "store/database/test_writes.py",
        "test_forks.py",
        "documentation/test_examples.py",
        "documentation/test_runbooks.py",
        "documentation/test_tutorials.py",
        "test_readme.py",
        "test_runs.py",
        "web/edge/test_body_bounds.py",
        "web/edge/test_feed.py",
        "web/edge/test_health.py",
        "web/edge/test_http_edge.py",
        "web/edge/test_management.py",
        "web/edge/test_server.py",
        "web/edge/test_service_manager.py",
        "web/test_revoked_meanwhile.py",
    )
)


STATES = "test_every_state_of_every_page"
"""Half the time of the two longest files, which are in journeys: a worker of its own may take them."""


class FileScheduling(LoadFileScheduling):  # type: ignore[misc]
    """One worker for each file, but for the states of every page, which need nothing of the file's others."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, name = nodeid.partition("::")
        return f"{file}::{STATES}" if name.startswith(STATES) else file


def phase_of(path: Path) -> str:
    """Return the phase in which a file of tests runs."""
    is_waiting = any(path == one or one in path.parents for one in FILES_THAT_WAIT)
    return WAITING if is_waiting else WORKING
