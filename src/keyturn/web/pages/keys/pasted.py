"""A search for keys in which somebody may paste a whole one.

It is sent as a form, never in an address. A pasted key is hashed at once, and leads to its page;
only a text that cannot be a credential becomes part of an address, and none that may be one is shown again.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from litestar.response import Redirect

from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.secret_texts import looks_secret
from keyturn.web.pages.frame.views import SubmittedForm

LOOKED_AT = 20
"""How many words of a text are looked at."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a pasted text led to no key."""

    title: str
    text: str


TORN, UNKNOWN = "torn", "unknown"
MISSING: Mapping[str, Missing] = {
    TORN: Missing(
        "This is not a whole key",
        "A part is missing, or it was changed: its checksum does not fit. Paste all of it, or search for its "
        "first 15 characters.",
    ),
    UNKNOWN: Missing(
        "No key matches",
        "It was never a key here, or it was deleted with its owner. It may belong to another installation.",
    ),
}
"""By the notice in the address."""


def find_pasted(
    sent: SubmittedForm, find: Callable[[str], int | None], path: str, otherwise: Callable[[], str]
) -> Redirect:
    """Lead to the key that `find` finds, or to why there is none; `otherwise` if nothing secret is asked."""
    text, prefix = sent.form.get("q", "").strip(), sent.services.settings.key_prefix
    words = re.findall(r"[A-Za-z0-9_-]+", text)[:LOOKED_AT]
    native = re.findall(rf"{re.escape(prefix)}_[0-9A-Za-z_]+", text)[:LOOKED_AT]
    for secret in dict.fromkeys([text, *native, *words]):
        number = find(secret)
        if number is not None:
            return see_other(f"{path}/{number}")
    if not looks_secret(text, prefix):
        return see_other(otherwise())
    is_torn = native and not any(map(sent.services.keys.is_well_formed, native))
    return see_other(f"{path}?notice={TORN if is_torn else UNKNOWN}")
