"""What stands in deploy/, checked by the programs that will read it."""

from __future__ import annotations

from pathlib import Path

from keyturn.settings import DEFAULT_DRAIN_SECONDS, Settings, read_settings
from keyturn.web.edge.server import SHUTDOWN_TIMEOUT_SECONDS
from keyturn.web.edge.workers import EXTRA_SECONDS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def check_stop_seconds(seconds: float, environment: dict[str, str]) -> Settings:
    """Return the settings of a deployed server, which may take `seconds` to stop and does not need as many.

    All of its variables are settings, and fit.
    """
    settings = read_settings(environment)
    drain = DEFAULT_DRAIN_SECONDS if settings.drain_seconds is None else settings.drain_seconds
    assert drain + SHUTDOWN_TIMEOUT_SECONDS + EXTRA_SECONDS < seconds
    return settings
