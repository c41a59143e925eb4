"""Services: the APIs that are registered here, their scopes, and who may hold them."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Response, get, post
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.apis import ApiRecord, ResourceScope
from keyturn.errors import ChangedMeanwhile, InvalidInput, KeyturnError, NotFound
from keyturn.services.apis.fields import ScopeToRegister, as_registered
from keyturn.web.forward_auth import AUDIENCE_PARAMETER, PATH, SCOPE_PARAMETER
from keyturn.web.pages.frame.account_lists import named_ids
from keyturn.web.pages.frame.confirmation import DELETION_WORD, check_typed
from keyturn.web.pages.frame.paging import read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import RESOURCES
from keyturn.web.pages.frame.views import (
    TOLD_ON_THE_PAGE,
    InjectedForm,
    InjectedView,
    SubmittedForm,
    View,
)
from keyturn.web.requests import IdInPath, asked_id, in_thread, read_id

SEEN = "seen"
"""The version of the scope that the form was filled with."""
GROUP = "group."
"""What the name of the box of a group begins with."""
EVERYONE, CHOSEN = "everyone", "chosen"
"""The choices of who may hold a scope; the boxes belong to the second."""
LISTED_SCOPES = 5
"""How many scopes of each service are named in the list."""

_NOTICES = {
    "saved": "The service is saved.",
    "scope": "The scopes are saved.",
    "deleted": "The service is deleted. Nobody reaches it with a key or token any more.",
}


@get("/", include_in_schema=False)
@in_thread
def services_page(
    view: InjectedView, page: FromQuery[int] = 1, notice: FromQuery[str | None] = None
) -> Response[str]:
    """Show the services."""
    at, resources = read_page(
        lambda offset, size: view.services.apis.list_visible(view.principal, offset=offset, size=size),
        page,
        RESOURCES.path,
    )
    return view.render(
        "apis/list.html",
        services=resources,
        at=at,
        listed=LISTED_SCOPES,
        notice=_NOTICES.get(notice or ""),
    )


@get("/new", include_in_schema=False)
@in_thread
def new_page(view: InjectedView) -> Response[str]:
    """Show the form for a new service with its first scope."""
    return _new(view)


@post("/new", include_in_schema=False)
@in_thread
def create(sent: InjectedForm) -> Response[str] | Redirect:
    """Register a service."""
    try:
        resource = sent.services.apis.add(
            sent.principal,
            sent.origin,
            name=sent.form.get("name", ""),
            identifier=sent.form.get("identifier", "").strip(),
            description=sent.text("description"),
            scopes=[_scope(sent)],
        )
    except TOLD_ON_THE_PAGE as error:
        return _new(sent, error=_at_the_scope(error), values=sent.form)
    return see_other(f"{RESOURCES.path}/{resource.resource_id}?notice=saved")


@get("/{resource_id:str}", include_in_schema=False)
@in_thread
def service_page(
    resource_id: IdInPath, view: InjectedView, notice: FromQuery[str | None] = None
) -> Response[str]:
    """Show a service."""
    return _service(view, _resource(view, resource_id), notice=_NOTICES.get(notice or ""))


@post("/{resource_id:str}", include_in_schema=False)
@in_thread
def update(resource_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Change what is said of a service; its scopes stay."""
    resource = _resource(sent, resource_id)
    try:
        sent.services.apis.update(
            sent.principal,
            resource.resource_id,
            sent.origin,
            **_changes(sent),
        )
    except TOLD_ON_THE_PAGE as error:
        return _service(sent, resource, error=error, values=sent.form)
    return see_other(f"{RESOURCES.path}/{resource.resource_id}?notice=saved")


@get("/{resource_id:str}/scope", include_in_schema=False)
@in_thread
def scope_page(resource_id: IdInPath, view: InjectedView, name: FromQuery[str] = "") -> Response[str]:
    """Show the form for a new scope, or for the one with this name."""
    resource = _resource(view, resource_id)
    return _scope_form(view, resource, name, values=_values(_scope_of(resource, name)) if name else None)


@post("/{resource_id:str}/scope", include_in_schema=False)
@in_thread
def save_scope(resource_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Add a scope, or put what is sent in the place of one."""
    resource, was = _resource(sent, resource_id), sent.form.get("was", "")
    try:
        if was and sent.form.get(SEEN) != version_of(_scope_of(resource, was)):
            raise ChangedMeanwhile("Somebody else changed this scope meanwhile: look at it again.")
        _save(sent, resource, [*_others(resource, was), _scope(sent)])
    except TOLD_ON_THE_PAGE as error:
        return _scope_form(sent, resource, was, error=_at_the_scope(error), values=sent.form)
    return see_other(f"{RESOURCES.path}/{resource.resource_id}?notice=scope")


@post("/{resource_id:str}/scope/remove", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def remove_scope(resource_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Take a scope from the service; it keeps one at least."""
    resource, was = _resource(sent, resource_id), sent.form.get("was", "")
    scope = _scope_of(resource, was)
    try:
        _save(sent, resource, _others(resource, was))
    except TOLD_ON_THE_PAGE as error:
        return _scope_form(sent, resource, was, error=_at_the_scope(error), values=_values(scope))
    return see_other(f"{RESOURCES.path}/{resource.resource_id}?notice=scope")


@get("/{resource_id:str}/delete", include_in_schema=False)
@in_thread
def delete_page(resource_id: IdInPath, view: InjectedView) -> Response[str]:
    """Say what ends with the service."""
    return _deletion(view, _resource(view, resource_id))


@post("/{resource_id:str}/delete", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def delete(resource_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Delete the service, if the word was typed."""
    resource = _resource(sent, resource_id)
    try:
        check_typed(sent)
        sent.services.apis.delete(sent.principal, resource.resource_id, sent.origin)
    except TOLD_ON_THE_PAGE as error:
        return _deletion(sent, resource, error=error, values=sent.form)
    return see_other(f"{RESOURCES.path}?notice=deleted")


def _resource(view: View, resource_id: str) -> ApiRecord:
    return view.services.apis.get(view.principal, read_id(resource_id))


def _changes(sent: SubmittedForm) -> Any:
    """Return what is said of the service anew, each under its name."""
    return sent.changed("name", "identifier", "description")


def _save(sent: SubmittedForm, resource: ApiRecord, scopes: list[ScopeToRegister]) -> None:
    """Give the service these scopes; the rest of it stays."""
    sent.services.apis.update(
        sent.principal,
        resource.resource_id,
        sent.origin,
        scopes=scopes,
        seen=resource.scopes,
    )


def _scope(sent: SubmittedForm) -> ScopeToRegister:
    """Return the scope that the form describes."""
    who = sent.form.get("who")
    if who not in {EVERYONE, CHOSEN}:
        raise InvalidInput("scopes", "Choose who may hold the scope.")
    return ScopeToRegister(
        name=sent.form.get("scope", "").strip(),
        description=sent.text("scope_description"),
        group_ids=_holders(sent) if who == CHOSEN else None,
    )


def _holders(sent: SubmittedForm) -> list[int]:
    """Return the groups that were ticked, and those whose numbers were typed."""
    typed = [text for text in re.split(r"[\s,]+", sent.form.get("group_numbers", "")) if text]
    for text in typed:
        if not asked_id(text):
            raise InvalidInput("group_numbers", "Give the numbers of groups, like 17, 23.")
    return named_ids([*sent.ticked(GROUP), *typed])


def _values(scope: ResourceScope) -> dict[str, str]:
    """Return what the form says of a scope as it is."""
    return {
        SEEN: version_of(scope),
        "scope": scope.name,
        "scope_description": scope.description or "",
        "who": EVERYONE if scope.is_for_everyone else CHOSEN,
        **{f"{GROUP}{group_id}": "on" for group_id in scope.group_ids},
    }


def version_of(scope: ResourceScope) -> str:
    """Return what tells a scope from what it was before somebody changed it."""
    said = [scope.name, scope.description, scope.is_for_everyone, sorted(scope.group_ids)]
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


def _scope_of(resource: ApiRecord, name: str) -> ResourceScope:
    for scope in resource.scopes:
        if scope.name == name:
            return scope
    raise NotFound


def _others(resource: ApiRecord, name: str) -> list[ScopeToRegister]:
    return [as_registered(scope) for scope in resource.scopes if scope.name != name]


def _at_the_scope(error: KeyturnError) -> KeyturnError:
    """Say at the one scope of the form what is wrong with the scopes."""
    if isinstance(error, InvalidInput) and error.field == "scopes":
        return InvalidInput("scope", str(error), code=error.code)
    return error


def _new(
    view: View, *, error: KeyturnError | None = None, values: Mapping[str, str] | None = None
) -> Response[str]:
    return view.render(
        "apis/new.html",
        error=error,
        **_group_choices(view, values or {}),
        values=values or {},
    )


def _service(
    view: View,
    resource: ApiRecord,
    *,
    notice: str | None = None,
    error: KeyturnError | None = None,
    values: Mapping[str, str] | None = None,
) -> Response[str]:
    holding = frozenset().union(*(scope.group_ids for scope in resource.scopes))
    names = view.services.apis.name_groups(view.principal, holding)
    identifier, scope = quote(resource.identifier, safe=""), quote(resource.scopes[0].name, safe=":")
    return view.render(
        "apis/api.html",
        error=error,
        service=resource,
        holders={scope.name: scope.held_by(names) for scope in resource.scopes},
        verify_target=f"{PATH}?{AUDIENCE_PARAMETER}={identifier}&{SCOPE_PARAMETER}={scope}",
        verifier=f'verifier = Verifier("…", audience="{resource.identifier}")',
        notice=notice,
        values=values or {},
    )


def _scope_form(
    view: View,
    resource: ApiRecord,
    was: str,
    *,
    error: KeyturnError | None = None,
    values: Mapping[str, str] | None = None,
) -> Response[str]:
    return view.render(
        "apis/scope.html",
        error=error,
        service=resource,
        was=was,
        **_group_choices(view, values or {}),
        values=values or {},
    )


def _group_choices(view: View, values: Mapping[str, str]) -> dict[str, Any]:
    """Return the groups that are offered as holders: those that are ticked, and the first of the others."""
    ticked = named_ids(name.removeprefix(GROUP) for name in values if name.startswith(GROUP))
    offered = view.services.apis.list_groups(view.principal)
    named = view.services.apis.name_groups(view.principal, ticked)
    named |= {group.group_id: group.name for group in offered}
    return {"groups": sorted(named.items()), "has_more_groups": offered.count > len(named)}


def _deletion(
    view: View,
    resource: ApiRecord,
    *,
    error: KeyturnError | None = None,
    values: Mapping[str, str] | None = None,
) -> Response[str]:
    return view.render(
        "apis/delete.html",
        error=error,
        service=resource,
        key_count=view.services.apis.count_keys(view.principal, resource.resource_id),
        word=DELETION_WORD,
        values=values or {},
    )


HANDLERS = (
    services_page,
    new_page,
    create,
    service_page,
    update,
    scope_page,
    save_scope,
    remove_scope,
    delete_page,
    delete,
)
