"""The permissions as boxes to tick, in words and in groups."""

from collections.abc import Iterable, Mapping
from typing import Any

from keyturn.core.permissions import ADMINISTRATION, DEFAULT_PERMISSIONS, Permission
from keyturn.core.principal import Principal
from keyturn.web.pages.frame.views import WAS

BOX = "permission."
"""The prefix of the name of a permission's box."""

Words = Mapping[Permission, tuple[str, str]]

GROUPS: tuple[tuple[str, Words], ...] = (
    (
        "Keyturn administration",
        {
            Permission.USER_ADMIN: (
                "Manage people and keys",
                "Users, groups, service accounts, the keys of everyone.",
            ),
            Permission.APPLICATION_ADMIN: (
                "Manage the installation",
                "APIs, settings, every connection, system keys.",
            ),
            Permission.AUDIT: ("Read the audit log", "And export it."),
            Permission.IMPERSONATE_USER: ("Act for other people", "By tokens that carry what both may do."),
            Permission.VERIFY_CREDENTIALS: (
                "Verify for other programs",
                "The credentials of everyone, by the feed or by introspection.",
            ),
        },
    ),
    (
        "Connections and projects",
        {
            Permission.CREATE_PROJECT: ("Create projects", "Everyone starts with this."),
            Permission.CREATE_DATA_SOURCE: ("See connections", ""),
            Permission.GOVERNANCE: ("See everything", "Every connection and every project."),
            Permission.PROJECT_MANAGEMENT: ("Manage all projects", "See and change every project."),
        },
    ),
)
"""Those that allow something here, with their words. All others are passed on to APIs, and have none."""


def permission_groups(
    principal: Principal, held: frozenset[str], values: Mapping[str, str]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the permissions as boxes: as they are held, or as they were ticked in `values`.

    One that the administrator may not give is shown, and not offered. Those that are only passed on come
    last, in a group without a title.
    """

    def box(name: Permission, label: str, allows: str) -> dict[str, Any]:
        is_typed, is_offered = "permissions" in values, may_give(principal, name)
        return {
            "name": name.value,
            "box": BOX + name.value,
            "label": label,
            "allows": allows,
            "is_offered": is_offered,
            "is_ticked": BOX + name in values if is_typed and is_offered else name in held,
            "was": WAS + BOX + name.value,
            "was_ticked": WAS + BOX + name in values if is_typed else name in held,
        }

    groups = [(title, [box(name, *said) for name, said in words.items()]) for title, words in GROUPS]
    named = {name for _, words in GROUPS for name in words}
    return [*groups, ("", [box(name, name.value, "") for name in Permission if name not in named])]


def permission_words(held: Iterable[str]) -> list[str]:
    """Return what permissions allow, as the boxes say it; those that are only passed on by their names."""
    return [_LABELS.get(name, name) for name in sorted(held)]


_LABELS = {name.value: label for _, words in GROUPS for name, (label, _) in words.items()}


def may_give(principal: Principal, name: Permission) -> bool:
    """Return whether an administrator may give, or take, this permission (A3)."""
    return name in principal.carried_permissions or name in DEFAULT_PERMISSIONS


ADMINISTRATORS = frozenset(name.value for name in ADMINISTRATION)
"""Holders of one of these are called administrators."""
