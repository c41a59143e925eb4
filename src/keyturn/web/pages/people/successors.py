"""The owner that a form names for service accounts, in the words of the pages."""

from keyturn.core.people import ServiceOwner, UserKind, UserRecord
from keyturn.core.permissions import Permission
from keyturn.errors import InvalidInput
from keyturn.web.pages.frame.pickers import SUCCESSORS, picked_group, picked_user
from keyturn.web.pages.frame.views import SubmittedForm

SUCCESSOR = "handOverTo"


def successor_in(sent: SubmittedForm, leaving: UserRecord | None = None) -> ServiceOwner | None:
    """Return who takes over the service accounts of somebody, or something, that ends; None for nobody.

    Raise `InvalidInput` at the field for whoever cannot.
    """
    user = _picked(sent, SUCCESSOR)
    if user is None:
        return None
    if leaving is not None and user.user_id == leaving.user_id:
        raise InvalidInput(SUCCESSOR, "Choose somebody else: this account is the one that ends.")
    return sent.services.service_accounts.find_successor(sent.principal, str(user.user_id))


def owner_in(sent: SubmittedForm) -> ServiceOwner:
    """Return the owner that the form names: a person, or a group of the list or by its name."""
    if (sent.text("group") is None) == (sent.text("owner") is None):
        raise InvalidInput("owner", "Enter the name of a person, or choose a group.")
    user = _picked(sent, "owner")
    group = picked_group(sent, "group") if user is None else None
    return sent.services.service_accounts.find_owner(
        sent.principal,
        userid=None if user is None else str(user.user_id),
        group_id=None if group is None else group.group_id,
    )


def _picked(sent: SubmittedForm, field: str) -> UserRecord | None:
    """Return the person that a field names, who can own service accounts."""
    text = sent.text(field)
    if text is None:
        return None
    sent.principal.check_may(Permission.USER_ADMIN)
    user = picked_user(sent, field, SUCCESSORS)
    if user is None or user.kind is not UserKind.PERSON or user.is_disabled:
        raise InvalidInput(
            field,
            f"No person who can own service accounts is called “{text}”. Nobody who is suspended can.",
        )
    return user
