"""Manual pages and completion, as the wheel installs them."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import date
from pathlib import Path

import click
import pytest

from keyturn.cli.completion import SHELLS, completion_script
from keyturn.cli.main import cli
from keyturn.cli.manual import ENVIRONMENT, EXIT_CODES, manual_pages
from tests.cli.walk import contexts

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"
DAY = date(2026, 11, 30)
PAGES = manual_pages(DAY)
SECONDS = 60


def test_every_command_has_a_page() -> None:
    """Each command and group has one, with all its options, its examples, and its date."""
    named = {f"{context.command_path.replace(' ', '-')}.1": context for context in contexts()}
    assert PAGES.keys() == named.keys()
    for name, context in named.items():
        text = PAGES[name].replace("\\-", "-").replace("\\(aq", "'").replace("\\(dq", '"')
        assert str(DAY) in text
        for option in context.command.params:
            if isinstance(option, click.Option):
                assert all(opt in text for opt in option.opts), (name, option.name)
        for line in context.command.examples:  # type: ignore[attr-defined]
            assert f".B {line}\n" in text, (name, line)


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="no mandoc: install it")
def test_the_pages_are_well_formed(tmp_path: Path) -> None:
    """mandoc finds nothing to warn of."""
    for name, text in PAGES.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *PAGES],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_the_first_page_says_what_the_reference_says() -> None:
    """Variables and exit codes are the same in both."""
    text = REFERENCE.read_text()
    codes = dict(re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE))
    assert {str(code): meaning.removesuffix(".") for code, meaning in EXIT_CODES.items()} == codes
    variables = {name for names in ENVIRONMENT for name in names.split(", ")}
    told = re.findall(r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \|", text, re.MULTILINE)
    assert {name for names in told for name in re.findall(r"[A-Z_]+", names)} == variables


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_reads_its_completion(tmp_path: Path, shell: str) -> None:
    """The file that the wheel installs has no error of syntax for the shell that reads it."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}: install it")
    script = tmp_path / "completion"
    script.write_text(completion_script(cli, shell))
    done = subprocess.run(
        [shell, "-n", str(script)], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
