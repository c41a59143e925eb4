"""The owner that a form names for service accounts, in the words of the pages."""

from keyturn.core.people import ServiceOwner, UserRecord
from keyturn.errors import InvalidInput
from keyturn.web.pages.frame.views import SubmittedForm
from keyturn.web.requests import asked_id

SUCCESSOR = "handOverTo"


def successor_in(sent: SubmittedForm, leaving: UserRecord | None = None) -> ServiceOwner | None:
    """Return who takes over the service accounts of somebody, or something, that ends; None for nobody.

    Raise `InvalidInput` at the field for whoever cannot.
    """
    userid = sent.text(SUCCESSOR)
    try:
        found = sent.services.service_accounts.find_successor(sent.principal, userid)
    except InvalidInput:
        raise InvalidInput(SUCCESSOR, _nobody(userid)) from None
    if found is not None and leaving is not None and found.user_id == leaving.user_id:
        raise InvalidInput(
            SUCCESSOR, "Enter the user name of somebody else: this account is the one that ends."
        )
    return found


def owner_in(sent: SubmittedForm) -> ServiceOwner:
    """Return the owner that the form names: a person by user name, or a group of the list."""
    group, userid = sent.text("group"), sent.text("owner")
    if (group is None) == (userid is None):
        raise InvalidInput("owner", "Enter the user name of a person, or choose a group.")
    try:
        return sent.services.service_accounts.find_owner(
            sent.principal, userid=userid, group_id=None if group is None else asked_id(group)
        )
    except InvalidInput:
        raise InvalidInput("owner", "Choose a group from the list." if group else _nobody(userid)) from None


def _nobody(userid: str | None) -> str:
    return f"No person who can own service accounts is called “{userid}”. Nobody who is suspended can."
