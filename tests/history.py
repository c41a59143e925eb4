"""The history of the sources, as far as it came with them."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORMER = (ROOT / "tests" / "journeys" / "former-version.txt").read_text().strip()
"""The commit whose program runs beside the present one in the test of rolling upgrades."""


def has_history() -> bool:
    """Return whether git knows the former version here."""
    try:
        known = subprocess.run(
            ("git", "-C", str(ROOT), "cat-file", "-e", f"{FORMER}^{{commit}}"),
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return False
    return known.returncode == 0
