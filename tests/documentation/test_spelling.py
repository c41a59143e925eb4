"""The documentation is spelled as American English is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.documentation.examples import PAGES

ROOT = Path(__file__).parents[2]
DICTIONARIES = "clear,rare,en-GB_to_en-US"
MISSPELLED_ON_PURPOSE = "nam,cancelled"
"""A field of a request that is refused, and a state of jobs as clients of the Immuta API know it."""


def test_words_are_spelled_right(tmp_path: Path) -> None:
    """No common misspelling and no British form is in a page; questions may have any."""
    for file, page in PAGES.items():
        (tmp_path / file.replace("/", "-")).write_text(page.markdown)
    for file in (ROOT / "README.md", ROOT / "AGENTS.md", ROOT / "CONTRIBUTING.md"):
        (tmp_path / file.name).write_text(file.read_text())
    done = subprocess.run(
        [
            *(sys.executable, "-m", "codespell_lib", "--builtin", DICTIONARIES),
            *("--ignore-words-list", MISSPELLED_ON_PURPOSE, str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    assert done.returncode == 0, done.stderr
