"""The examples of a page of the documentation, in the order in which a reader types them."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyturn.documentation.build.sources import label_of, language_of, read_pages

if TYPE_CHECKING:
    from collections.abc import Sequence

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {page.file: page for page in read_pages(DOCS)}
CURL, PYTHON, COMMAND = "curl", "Python", "Command line"
LANGUAGES = (CURL, PYTHON, COMMAND)
ANSWER = "Answer"
MORE = "…"
"""A name in a documented answer that stands for further ones."""
SHELL_FENCES, PYTHON_FENCES = {"sh", "bash"}, {"python"}


@dataclass(frozen=True)
class Step:
    """One fence: code to run, a file to write, or the answer that the step before prints."""

    number: int
    kind: str
    """`run`, `file` or `answer`."""
    text: str
    name: str = ""
    answers: int = -1
    """The number of the step that prints this answer."""


def steps_of(file: str, language: str) -> Sequence[Step]:
    """Return what a reader of one language does on a page."""
    steps = []
    for token in PAGES[file].tokens:
        if token.type != "fence":
            continue
        label, written_in, number = label_of(token), language_of(token), len(steps)
        if label is not None and label not in (*LANGUAGES, ANSWER):
            steps.append(Step(number, "file", token.content, label))
        elif label == ANSWER:
            ran = [step.number for step in steps if step.kind == "run"]
            if language == CURL and ran:
                steps.append(Step(number, "answer", token.content, answers=ran[-1]))
        elif label in (None, language) and written_in in (
            PYTHON_FENCES if language == PYTHON else SHELL_FENCES
        ):
            steps.append(Step(number, "run", token.content))
    return steps


def pages_that_run() -> list[tuple[str, str]]:
    """Return each page with each language in which it has something to run.

    Runbooks are for the machine of a server, and have a test of their own.
    """
    return [
        (file, language)
        for file in sorted(PAGES)
        if not file.startswith("operate/runbooks/")
        for language in LANGUAGES
        if any(step.kind == "run" for step in steps_of(file, language))
    ]


def shell_script(steps: Sequence[Step], outputs: Path) -> str:
    """Return a program for bash that runs the steps in one shell, and keeps what each prints."""
    parts = ["set -euo pipefail"]
    for step in steps:
        if step.kind == "run":
            parts.append(f"echo 'step {step.number}' >&2")
            parts.append(f"{{\n{step.text}\n}} > {shlex.quote(str(outputs / str(step.number)))}")
    return "\n".join(parts)


def python_program(steps: Sequence[Step]) -> str:
    """Return a program for Python that runs the steps in one namespace."""
    texts = [(step.number, step.text) for step in steps if step.kind == "run"]
    return (
        "import sys\nnamespace = {'__name__': 'example'}\n"
        f"for number, text in {texts!r}:\n"
        "    print('step', number, file=sys.stderr, flush=True)\n"
        "    exec(compile(text, f'step {number}', 'exec'), namespace)\n"
    )


def shape(value: Any) -> Any:
    """Return what must be the same of an answer: the names, and of lists the first element."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return None


def differs(printed: str, answer: str) -> str | None:
    """Return in what a documented answer differs from what was printed, None if in nothing."""
    try:
        # Of JSON lines, which export makes, the first is documented.
        got, _ = json.JSONDecoder().raw_decode(printed)
        expected = json.loads(answer)
    except json.JSONDecodeError as error:
        return f"no JSON: {error}"
    return _difference(shape(expected), shape(got), "")


def _difference(expected: Any, got: Any, where: str) -> str | None:
    if isinstance(expected, dict) and isinstance(got, dict):
        names = expected.keys() - {MORE}
        if not names <= got.keys() or (MORE not in expected and names != got.keys()):
            return f"{where or 'the answer'} has {sorted(got)}, not {sorted(expected)}"
        found = (_difference(expected[name], got[name], f"{where}.{name}") for name in names)
        return next((one for one in found if one is not None), None)
    if isinstance(expected, list) and isinstance(got, list) and expected and got:
        return _difference(expected[0], got[0], f"{where}[]")
    return None


def hosts_in(text: str) -> set[str]:
    """Return the hosts that a text names with http."""
    return set(re.findall(r"https?://([\w.:-]+)", text))
