"""A process that changes other things in the database all the time, as a busy `keyturn admin` would."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from keyturn.composition import open_services
from keyturn.services.keys.keys import NewKey
from keyturn.settings import read_settings
from keyturn.verifying.origin import COMMAND_LINE
from tests.journeys.processes import clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

PAUSE_SECONDS = 0.02
_PROJECT = Path(__file__).parents[2]


@contextmanager
def changing(database: str, user_id: int, root_key_file: Path) -> Iterator[None]:
    """Make and revoke keys of a user until the block ends; it must have gone on until then."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, database, str(user_id), str(root_key_file)],
        cwd=_PROJECT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), "the process could not begin"
        yield
        assert process.poll() is None, "the other process ended by itself"
    finally:
        process.kill()
        process.wait()


def main(database: str, user_id: int, root_key_file: str) -> None:
    settings = read_settings({"KEYTURN_DATABASE": database}, root_key_file=Path(root_key_file))
    services = open_services(settings)
    print("begun", flush=True)
    while True:
        key = services.keys.create_for(user_id, COMMAND_LINE, NewKey("other"))
        time.sleep(PAUSE_SECONDS)
        services.keys.revoke_any(key.record.key_id, COMMAND_LINE)
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
