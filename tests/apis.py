"""APIs that are registered in a test, and who calls there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.core.oauth import ACCESS_TOKEN_TYPE, API_KEY_TYPE, TOKEN_EXCHANGE
from keyturn.errors import CredentialRefused, OAuthRefused, ScopeMissing, UnknownAudience
from keyturn.services.apis.fields import ScopeToRegister
from keyturn.verifying.origin import COMMAND_LINE
from tests.people import HERE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from keyturn.composition import Services
    from keyturn.core.apis import ApiRecord
    from keyturn.core.principal import Principal

NOTHING_THERE, UNREGISTERED = "covers nothing", "not registered"


def identifier_of(name: str) -> str:
    return f"https://{name}.example.com"


def scopes_of(name: str, held_by: Iterable[int] | None = None) -> list[ScopeToRegister]:
    """Return two scopes of an API: `read` for everyone, `write` for these groups, None for everyone."""
    groups = None if held_by is None else list(held_by)
    return [ScopeToRegister(f"{name}:write", None, groups), ScopeToRegister(f"{name}:read", "Read it")]


def register(services: Services, name: str, held_by: Iterable[int] | None = None) -> ApiRecord:
    """Register an API as the command line does."""
    return services.apis.register(
        COMMAND_LINE,
        name=name,
        identifier=identifier_of(name),
        description=None,
        scopes=scopes_of(name, held_by),
    )


def say_anew(
    services: Services, admin: Principal, resource: ApiRecord, scopes: Iterable[ScopeToRegister]
) -> ApiRecord:
    """Give an API other scopes."""
    return services.apis.update(
        admin,
        resource.resource_id,
        HERE,
        name=resource.name,
        identifier=resource.identifier,
        description=resource.description,
        scopes=list(scopes),
    )


def new_group(services: Services, admin: Principal, name: str = "writers", *userids: str) -> int:
    """Make a group with these members."""
    group = services.groups.add(admin, HERE, iamid="bim", name=name).group_id
    for userid in userids:
        services.groups.add_member(admin, group, HERE, iamid="bim", userid=userid)
    return group


def leave(services: Services, admin: Principal, group: int, user_id: int) -> None:
    """Take somebody out of a group."""
    (member,) = (one for one in services.groups.list_members(admin, group) if one.user_id == user_id)
    services.groups.remove_member(admin, group, member.membership_id, HERE)


def covered(services: Services, credential: str, name: str | None) -> frozenset[str] | str | None:
    """Return what a credential covers at the API of this name, None for the installation; or why nothing.

    Asked as the gate does it: first what is plainly remembered, then the long way.
    """
    judge = services.authenticator if name is None else services.authenticator.at(identifier_of(name))
    known = judge.recognise(credential.encode(), (None, None, None, None))
    if known is not None:
        return known.principal.scopes
    try:
        principal = judge.authenticate([credential.encode()], HERE)
    except CredentialRefused as refused:
        return refused.reason.value
    except ScopeMissing:
        return NOTHING_THERE
    except UnknownAudience:
        return UNREGISTERED
    assert principal is not None
    return principal.scopes


def token_for(services: Services, credential: str, name: str | None, *scopes: str) -> str:
    """Exchange a key or token for a token of the API of this name; raise `OAuthRefused`."""
    form: Mapping[str, str] = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": credential,
        "subject_token_type": ACCESS_TOKEN_TYPE if credential.count(".") == 2 else API_KEY_TYPE,
        **({} if name is None else {"resource": identifier_of(name)}),
        **({"scope": " ".join(scopes)} if scopes else {}),
    }
    return services.oauth.grant(form, [], HERE).issued.token


def why_no_token(services: Services, credential: str, name: str | None, *scopes: str) -> str | None:
    """Return the code of the refusal of a token, None if it is given."""
    try:
        token_for(services, credential, name, *scopes)
    except OAuthRefused as refused:
        return refused.code.value
    return None
