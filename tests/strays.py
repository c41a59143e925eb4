"""Secrets with characters that do not belong to them, and all that an error could tell of one."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY = "qZ7vK2mX9bT4"
"""The middle of every secret here: a message that has it tells the secret."""
KEY = f"kt_{CANARY}abcdefgh{CANARY}0123"

STRAYS = {
    "byte order mark": f"\ufeff{KEY}",
    "byte order mark and line": f"\ufeff{KEY}\r\n",
    "two lines": f"{KEY}\n{KEY}",
    "header of its own": f"{KEY}\r\nX-Other: {KEY}",
    "zero byte": f"{KEY}\0",
    "escape": f"\x1b[31m{KEY}",
    "delete": f"{KEY}\x7f",
    "quotes": f'"{KEY}"',
    "no-break space": f"{KEY}\u00a0",
    "zero-width space": f"{KEY}\u200b",
    "space inside": f"{KEY} {KEY}",
    "umlaut": f"{KEY}ü",
    "half of a surrogate": f"{KEY}\ud800",
    "Bearer": f"Bearer {KEY}",
    "very long": KEY * 200,
    "line end before it": f"\n{KEY}",
}
"""Texts that no key can be, by what is wrong with them."""

LINE_ENDS = ("\n", "\r\n", "\n\n")
"""What a file or a pipe puts behind a key."""


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that stands behind it, also where `from None` hides it."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        if (one := waiting.pop()) is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]


def everything_said(error: BaseException) -> str:
    """Return all that a log, a tracker of errors or a person can see of an error."""
    told = "".join(traceback.format_exception(error))
    for one in chain_of(error):
        told += f"\n{one}\n{one!r}\n{one.args!r}\n{vars(one)!r}\n{getattr(one, 'object', '')!r}"
    return told


def tells(text: str | bytes) -> bool:
    """Return whether a text has something of a secret of ours."""
    return CANARY in (text if isinstance(text, str) else text.decode("latin-1"))
