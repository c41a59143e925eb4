"""Whether output is in color, as `NO_COLOR` and its relatives in the environment say."""

from collections.abc import Mapping


def wants_color(environment: Mapping[str, str]) -> bool | None:
    """Return whether output is in color; None for: on a terminal alone.

    A wish for none wins over a wish for some.
    """
    if environment.get("NO_COLOR") or environment.get("CLICOLOR") == "0":
        return False
    if any(environment.get(name, "0") not in {"", "0"} for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return False if environment.get("TERM") == "dumb" else None
