"""The APIs that are registered here: whom tokens are for, and which scopes there are."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from urllib.parse import urlsplit

MAX_IDENTIFIER_CHARACTERS = 255
MAX_SCOPE_CHARACTERS = 128
MAX_SCOPES_CHARACTERS = 2000
"""All scopes of one API, or of one key, together: they must fit into a token, and into a header."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?@!$&'()*+,;=%-]+")


@dataclass(frozen=True, slots=True)
class ResourceScope:
    """One scope of an API, and who may hold it."""

    name: str
    description: str | None
    is_for_everyone: bool
    group_ids: frozenset[int]
    """The groups whose members may hold it, unless it is for everyone."""

    def may_be_held_by(self, group_ids: frozenset[int]) -> bool:
        """Return whether somebody in these groups may hold it."""
        return self.is_for_everyone or not self.group_ids.isdisjoint(group_ids)

    def held_by(self, group_names: Mapping[int, str]) -> str:
        """Return who may hold it, for people; a group that is not among the names is gone meanwhile."""
        if self.is_for_everyone:
            return "everyone"
        names = (group_names[group_id] for group_id in self.group_ids if group_id in group_names)
        return ", ".join(sorted(names)) or "nobody"


@dataclass(frozen=True, slots=True)
class ApiRecord:
    """A registered API: a protected resource, as OAuth calls it."""

    resource_id: int
    name: str
    identifier: str
    """The `aud` of a token for it, and the `resource` that a client asks for (RFC 8707)."""
    description: str | None
    scopes: tuple[ResourceScope, ...]
    """At least one, in alphabetical order."""
    created_at: datetime
    updated_at: datetime

    @property
    def scope_names(self) -> frozenset[str]:
        """The names of all of its scopes."""
        return frozenset(scope.name for scope in self.scopes)


MAX_GROUP_SETS = 4096
"""For how many different sets of groups it is kept what is withheld from their members."""


@dataclass(frozen=True)
class Rules:
    """Which scopes the registered APIs have, and who may hold them: all as of one revision."""

    revision: int
    resources: tuple[ApiRecord, ...]
    """In alphabetical order."""
    retired: frozenset[str] = frozenset()
    """Scopes of no API any more, which nobody may hold."""

    @cached_property
    def is_empty(self) -> bool:
        """Whether there is nothing that anybody could be kept from."""
        return not self.resources and not self.retired

    @cached_property
    def audiences(self) -> Mapping[str, frozenset[str]]:
        """The scopes of each API, by its identifier."""
        return {resource.identifier: resource.scope_names for resource in self.resources}

    @cached_property
    def _guarded(self) -> tuple[ResourceScope, ...]:
        scopes = (scope for resource in self.resources for scope in resource.scopes)
        return tuple(scope for scope in scopes if not scope.is_for_everyone)

    @cached_property
    def _withheld(self) -> dict[frozenset[int], frozenset[str]]:
        return {}

    def withheld_from(self, group_ids: frozenset[int]) -> frozenset[str]:
        """Return which scopes somebody in these groups may not hold."""
        found = self._withheld.get(group_ids)
        if found is None:
            guarded = (scope.name for scope in self._guarded if not scope.may_be_held_by(group_ids))
            found = self.retired.union(guarded)
            if len(self._withheld) < MAX_GROUP_SETS:
                self._withheld[group_ids] = found
        return found


def is_resource_identifier(text: str) -> bool:
    """Return whether this can name a resource: an absolute URI without a fragment (RFC 8707, section 2)."""
    if len(text) > MAX_IDENTIFIER_CHARACTERS or _URI.fullmatch(text) is None:
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port  # Which is read only when it is asked for.
    except ValueError:
        return False
    return parts.scheme not in {"http", "https"} or bool(parts.hostname)
