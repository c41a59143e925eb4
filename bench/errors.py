"""What can go wrong in a run without ending it, and how the results say so."""

import re

_DIRECTORIES = re.compile(r"(?<![\w:/.])(?:/[\w.@+~-]+)+/")
_TRACEBACK = "Traceback (most recent call last)"
MAX_CHARACTERS = 600


class NotMeasured(Exception):
    """Something could not be set up or did not do its work; the message is the reason in the results."""


def reason_of(error: Exception) -> str:
    """Return why something was not measured, without any place of this machine."""
    text = str(error) if isinstance(error, NotMeasured) else f"{type(error).__name__}: {error}"
    return _DIRECTORIES.sub("", text)


def end_of_output(text: str) -> str:
    """Return on one line how the output of a failed process ends: the error, without its traceback."""
    lines = text.strip().splitlines()
    if _TRACEBACK in text:
        lines = lines[-1:]
    return " ".join(" ".join(lines).split())[-MAX_CHARACTERS:]
