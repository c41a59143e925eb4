"""Where a peer keeps its files, and how it tells the run its credentials."""

import json
import os
from pathlib import Path

DIRECTORY_VARIABLE = "BENCH_DIRECTORY"
CREDENTIALS_FILE_NAME = "credentials.json"


def directory() -> Path:
    """Return the fresh directory that this peer may fill."""
    return Path(os.environ[DIRECTORY_VARIABLE])


def publish(**credentials: str) -> None:
    """Write the good credentials, by name, for the run to read."""
    (directory() / CREDENTIALS_FILE_NAME).write_text(json.dumps(credentials))
