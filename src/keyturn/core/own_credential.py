"""The key or token that a program was given to call with, before it goes into any header.

HTTP libraries quote the value that they cannot send, in errors that end in logs. So a text that no key can
be is refused here, by a sentence that has nothing of it.
"""

import re

MAX_CHARACTERS = 4096
NO_KEY = "this is not a key: give the text that was shown when it was made, on one line and without quotes"
_BYTE_ORDER_MARK = "\ufeff"
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""The characters of a credential after its scheme (RFC 9110, section 11.2): those of every key and token."""


def is_credential(text: str) -> bool:
    """Return whether a header can carry this as it is."""
    return len(text) <= MAX_CHARACTERS and _TOKEN68.fullmatch(text) is not None


def read_own_credential(text: object) -> str:
    """Return the key or token without the line end that a file or a pipe put behind it.

    Raise `ValueError`, which tells nothing of the text, for what is none.
    """
    if isinstance(text, str):
        credential = text.rstrip("\r\n")
        if is_credential(credential):
            return credential
        if credential.startswith(_BYTE_ORDER_MARK):
            raise ValueError("this is not a key: a byte order mark stands before it; save it without one")
    raise ValueError(NO_KEY)
