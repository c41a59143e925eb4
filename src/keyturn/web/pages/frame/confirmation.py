"""Pages that ask before something ends: what they name, and what a person types."""

from keyturn.errors import InvalidInput
from keyturn.web.pages.frame.views import SubmittedForm

LISTED = 20
"""How many keys and service accounts are named; of the others the number is told."""
DELETION_WORD = "Delete"


def check_typed(sent: SubmittedForm) -> None:
    """Raise `InvalidInput` unless the word was typed that keeps people from deleting by accident."""
    if sent.text("typed") != DELETION_WORD:
        raise InvalidInput("typed", f"Type the word {DELETION_WORD} to confirm.")
