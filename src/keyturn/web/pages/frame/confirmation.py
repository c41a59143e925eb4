"""Confirmations: words that a person types twice or by hand, and pages that ask before something ends."""

from collections.abc import Mapping

from keyturn.errors import InvalidInput
from keyturn.web.pages.frame.views import SubmittedForm

LISTED = 20
"""How many keys and service accounts are named; of the others the number is told."""
DELETION_WORD = "delete"
REVOCATION_WORD = "revoke"


def check_typed(sent: SubmittedForm, word: str = DELETION_WORD) -> None:
    """Raise `InvalidInput` unless the word was typed that keeps people from ending things by accident."""
    if (sent.text("typed") or "").lower() != word:
        done = word.removesuffix("e") + "ed"
        raise InvalidInput("typed", f"Nothing was {done}. To confirm, type {word}.")


def check_repeated(form: Mapping[str, str]) -> None:
    """Raise `InvalidInput` unless the new password was typed twice alike."""
    if form.get("password") != form.get("password_again"):
        raise InvalidInput("password_again", "The passwords don’t match. Enter the same one twice.")
