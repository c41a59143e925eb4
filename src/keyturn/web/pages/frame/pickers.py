"""A field in which somebody names a user or a group: what they type is looked for.

The macro `picker` writes it. With script, users are suggested as one types, and two further fields say which
one was chosen, and for which text. Without it, the form comes back with a choice where several match.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypedDict

from litestar import MediaType, Response

from keyturn.core.people import GroupRecord, UserKind, UserRecord
from keyturn.core.searches import GroupSearch, NamedOrder, UserOrder, UserSearch
from keyturn.errors import Ambiguous, Candidate, InvalidInput
from keyturn.services.people.administration import PEOPLE
from keyturn.web.pages.frame.secret_texts import looks_secret
from keyturn.web.pages.frame.views import SubmittedForm, View
from keyturn.web.requests import asked_id

OFFERED = 8
"""How many are suggested, or offered to choose from."""
PICK, ASKED = ".pick", ".asked"
"""The endings of the two further fields: the number that was chosen, and the text for which it was.

A text that was changed since is looked for anew.
"""
MAX_NOTE = 80
ANYBODY = UserSearch(kinds=frozenset({UserKind.PERSON, UserKind.SERVICE}))
SUCCESSORS = UserSearch(kinds=PEOPLE, is_disabled=False)
"""Those who can own service accounts."""


class Suggestion(TypedDict):
    """A user or a group, as script is told of it."""

    number: int
    name: str
    note: str
    called: str
    """The name that no other has: the user name, or the name of the group."""


def picked_user(sent: SubmittedForm, field: str, wanted: UserSearch = ANYBODY) -> UserRecord | None:
    """Return the user that a field names, None if there is none; `wanted` is who may be meant.

    A user named exactly is returned in any case. Raise `InvalidInput` at the field
    if it is empty, and `Ambiguous` if there are several.
    """
    text, number = _typed(sent, field)
    if text is None:
        raise InvalidInput(field, "Enter a name, a user name or an email address.")
    service = sent.services.user_administration
    if number:
        chosen = service.search(sent.principal, UserSearch(ids=frozenset({number})), size=1).items
        if chosen:
            return chosen[0]
    found = service.find_named(sent.principal, text, wanted, size=OFFERED)
    if found.count > 1:
        raise _ambiguous(field, text, found.count, "users", map(_user, found))
    return found[0] if found.count else None


def picked_member(sent: SubmittedForm, field: str) -> UserRecord:
    """Return the same; raise `InvalidInput` at the field if there is no such user."""
    user = picked_user(sent, field)
    if user is None:
        text = sent.text(field)
        raise InvalidInput(
            field, f"No user is called “{text}”. Check the spelling, or try a part of the name."
        )
    return user


def picked_group(sent: SubmittedForm, field: str) -> GroupRecord | None:
    """Return the group that a field names, as `picked_user` does; its whole name names no other."""
    text, number = _typed(sent, field)
    if text is None:
        return None
    groups = sent.services.groups
    if number or text.isdecimal():
        return groups.get(sent.principal, number or asked_id(text))
    found = groups.list_visible(sent.principal, GroupSearch(text, NamedOrder.NAME), size=OFFERED)
    called = [group for group in found if group.name.casefold() == text.casefold()]
    if len(called) == 1:
        return called[0]
    if not found.count:
        raise InvalidInput(field, f"No group is called “{text}”. Check the spelling.")
    if found.count > 1:
        raise _ambiguous(field, text, found.count, "groups", map(_group, found))
    return found[0]


def _typed(sent: SubmittedForm, field: str) -> tuple[str | None, int]:
    """Return the text of a field, and the number that was chosen for it, or 0."""
    text = sent.text(field)
    is_chosen = text is not None and sent.text(field + ASKED) == text
    return text, asked_id(sent.form.get(field + PICK, "")) if is_chosen else 0


def _ambiguous(field: str, text: str, count: int, things: str, found: Iterable[Candidate]) -> Ambiguous:
    more = "" if count <= OFFERED else " Type more of the name to see others."
    return Ambiguous(field, f"{count:,} {things} match “{text}”. Choose one.{more}", tuple(found))


def suggested_users(view: View, text: str) -> Response[list[Suggestion]]:
    """Answer with the first users of whose name, user name or e-mail address a text is a part."""
    if _is_no_question(view, text):
        return _suggestions(())
    wanted = replace(ANYBODY, text=text.strip(), order=UserOrder.NAME)
    found = view.services.user_administration.search(view.principal, wanted, size=OFFERED)
    return _suggestions((_user(user), user.userid) for user in found)


def suggested_groups(view: View, text: str) -> Response[list[Suggestion]]:
    """Answer with the first groups of whose name or description a text is a part."""
    if _is_no_question(view, text):
        return _suggestions(())
    wanted = GroupSearch(text.strip(), NamedOrder.NAME)
    found = view.services.groups.list_visible(view.principal, wanted, size=OFFERED)
    return _suggestions((_group(group), group.name) for group in found)


def _is_no_question(view: View, text: str) -> bool:
    return not text.strip() or looks_secret(text, view.services.settings.key_prefix)


def _suggestions(found: Iterable[tuple[Candidate, str]]) -> Response[list[Suggestion]]:
    suggestions: list[Suggestion] = [
        {"number": one.number, "name": one.name, "note": one.note, "called": called} for one, called in found
    ]
    return Response(suggestions, media_type=MediaType.JSON)


def _user(user: UserRecord) -> Candidate:
    name = user.profile.name or user.userid
    kind = "service account" if user.kind is UserKind.SERVICE else None
    notes = dict.fromkeys(one for one in (user.userid, user.profile.email, kind) if one and one != name)
    return Candidate(user.user_id, name, ", ".join(notes))


def _group(group: GroupRecord) -> Candidate:
    return Candidate(group.group_id, group.name, (group.description or "")[:MAX_NOTE])
