"""The fields of a registered API, and their validation."""

from collections.abc import Sequence
from dataclasses import dataclass

from keyturn.core.apis import (
    MAX_SCOPE_CHARACTERS,
    MAX_SCOPES_CHARACTERS,
    ResourceScope,
    is_resource_identifier,
)
from keyturn.core.records import is_id
from keyturn.core.scopes import is_scope
from keyturn.errors import InvalidInput
from keyturn.services.text import checked_text
from keyturn.store.apis import ApiFields

NAME_MAX_CHARACTERS = 254
DESCRIPTION_MAX_CHARACTERS = 2000
SCOPE_DESCRIPTION_MAX_CHARACTERS = 254
MAX_SCOPES = 100


@dataclass(frozen=True, slots=True)
class ScopeToRegister:
    """A scope as an administrator describes it."""

    name: str
    description: str | None = None
    group_ids: Sequence[int] | None = None
    """The groups whose members may hold it; None for everyone."""


def as_registered(scope: ResourceScope) -> ScopeToRegister:
    """Return a scope as an administrator would describe it who leaves it as it is."""
    return ScopeToRegister(
        scope.name, scope.description, None if scope.is_for_everyone else sorted(scope.group_ids)
    )


def checked_fields(
    name: str, identifier: str, description: str | None, scopes: Sequence[ScopeToRegister]
) -> ApiFields:
    """Return what is said of an API; raise `InvalidInput` for what is unfit."""
    checked_name = checked_text("name", name, max_characters=NAME_MAX_CHARACTERS)
    if checked_name is None:
        raise InvalidInput("name", "Give the API a name.")
    if not is_resource_identifier(identifier):
        raise InvalidInput(
            "identifier",
            "The identifier is an absolute URI without a fragment, such as https://orders.example.com.",
        )
    if not 0 < len(scopes) <= MAX_SCOPES:
        raise InvalidInput("scopes", f"A service has 1 to {MAX_SCOPES} scopes.")
    if sum(len(scope.name) + 1 for scope in scopes) > MAX_SCOPES_CHARACTERS:
        raise InvalidInput(
            "scopes", f"The names of all scopes have at most {MAX_SCOPES_CHARACTERS} characters."
        )
    if len({scope.name for scope in scopes}) != len(scopes):
        raise InvalidInput("scopes", "Each scope is named once.")
    return ApiFields(
        name=checked_name,
        identifier=identifier,
        description=checked_text(
            "description", description, max_characters=DESCRIPTION_MAX_CHARACTERS, allows_lines=True
        ),
        scopes=tuple(map(_checked_scope, sorted(scopes, key=lambda scope: scope.name))),
    )


def _checked_scope(scope: ScopeToRegister) -> ResourceScope:
    if not is_scope(scope.name) or len(scope.name) > MAX_SCOPE_CHARACTERS:
        raise InvalidInput(
            "scopes",
            f"A scope is 1 to {MAX_SCOPE_CHARACTERS} printable ASCII characters without space and quotes.",
        )
    if not all(map(is_id, scope.group_ids or ())):
        raise InvalidInput("scopes", "There is no such group.")
    return ResourceScope(
        name=scope.name,
        description=checked_text(
            "scopes", scope.description, max_characters=SCOPE_DESCRIPTION_MAX_CHARACTERS
        ),
        is_for_everyone=scope.group_ids is None,
        group_ids=frozenset(scope.group_ids or ()),
    )
