"""The APIs that are registered here, their scopes, and who may hold them."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.apis import ApiRecord, ResourceScope
from keyturn.core.audit import AuditAction, Target
from keyturn.errors import ChangedMeanwhile, InvalidInput, NotFound
from keyturn.services.apis.fields import ScopeToRegister, as_registered
from keyturn.web.forward_auth import AUDIENCE_PARAMETER, PATH, SCOPE_PARAMETER
from keyturn.web.pages.frame.account_lists import named_ids
from keyturn.web.pages.frame.confirmation import DELETION_WORD, check_typed
from keyturn.web.pages.frame.forms import at_field, form, page
from keyturn.web.pages.frame.lists import Column, read_list
from keyturn.web.pages.frame.notices import deleted_name, said
from keyturn.web.pages.frame.paging import ROWS, read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import APIS
from keyturn.web.pages.frame.views import (
    InjectedForm,
    InjectedView,
    SubmittedForm,
    View,
)
from keyturn.web.requests import AnyRequest, IdInPath, asked_id, read_id

SEEN = "seen"
"""The version of the scope that the form was filled with."""
GROUP = "group."
"""The prefix of the name of a group's box."""
EVERYONE, CHOSEN = "everyone", "chosen"
"""The choices of who may hold a scope; the boxes belong to the second."""
LISTED_SCOPES = 5
"""How many scopes of each API are named in the list."""

SENTENCES: Mapping[str, str] = {
    "created": "Added the API <b>{}</b>.",
    "saved": "Saved the API <b>{}</b>.",
    "scope": "Saved the scopes of <b>{}</b>.",
}
"""The part of the API that a notice tells."""


COLUMNS: Mapping[str, Column] = {"name": Column("Name")}


@page("/", APIS)
def services_page(
    request: AnyRequest,
    view: InjectedView,
    page: FromQuery[int] = 1,
    notice: FromQuery[str | None] = None,
    deleted: FromQuery[str | None] = None,
) -> Response[str]:
    """Show the APIs that are looked for, by name."""
    asked = read_list(request.query_params, APIS.path, COLUMNS)
    at, resources = read_page(
        lambda offset, size: view.services.apis.list_visible(
            view.principal,
            text=asked.text or None,
            is_descending=asked.is_descending,
            offset=offset,
            size=size,
        ),
        page,
        APIS.path,
        size=ROWS,
        **asked.query,
    )
    return view.render(
        "apis/list.html",
        services=resources,
        at=at,
        sorting=asked.sorting,
        values=asked.values,
        listed=LISTED_SCOPES,
        notice=_deleted(view, deleted) if notice == "deleted" else None,
    )


def _deleted(view: View, number: str | None) -> str:
    name = deleted_name(view, AuditAction.RESOURCE_DELETED, Target.RESOURCE, number, "name")
    if not name:
        return "Deleted the API. Keys and tokens for it are refused from now on."
    return said("Deleted <b>{}</b>. Keys and tokens for it are refused from now on.", name)


@page("/new", APIS)
def new_page(view: InjectedView) -> Response[str]:
    """Show the form for a new API with its first scope."""
    return view.render("apis/new.html", **_group_choices(view, view.values))


@form("/new", APIS, again=new_page)
def create(sent: InjectedForm) -> Redirect:
    """Register an API."""
    with at_field(scopes="scope"):
        resource = sent.services.apis.add(
            sent.principal,
            sent.origin,
            name=sent.form.get("name", ""),
            identifier=sent.form.get("identifier", "").strip(),
            description=sent.text("description"),
            scopes=[_scope(sent)],
        )
    return see_other(f"{APIS.path}/{resource.resource_id}?notice=created")


@page("/{resource_id:str}", APIS)
def service_page(
    resource_id: IdInPath, view: InjectedView, notice: FromQuery[str | None] = None
) -> Response[str]:
    """Show an API."""
    resource = _resource(view, resource_id)
    holding = frozenset().union(*(scope.group_ids for scope in resource.scopes))
    names = view.services.apis.name_groups(view.principal, holding)
    identifier, scope = quote(resource.identifier, safe=""), quote(resource.scopes[0].name, safe=":")
    return view.render(
        "apis/api.html",
        service=resource,
        holders={scope.name: scope.held_by(names) for scope in resource.scopes},
        verify_target=f"{PATH}?{AUDIENCE_PARAMETER}={identifier}&{SCOPE_PARAMETER}={scope}",
        verifier=f'verifier = Verifier("…", audience="{resource.identifier}")',
        notice=said(SENTENCES[notice], resource.name) if notice and notice in SENTENCES else None,
    )


@form("/{resource_id:str}", APIS, again=service_page)
def update(resource_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Change what is said of an API; its scopes stay."""
    resource = _resource(sent, resource_id)
    sent.services.apis.update(
        sent.principal,
        resource.resource_id,
        sent.origin,
        **_changes(sent),
    )
    return see_other(f"{APIS.path}/{resource.resource_id}?notice=saved")


@page("/{resource_id:str}/scope", APIS)
def scope_page(resource_id: IdInPath, view: InjectedView, name: FromQuery[str] = "") -> Response[str]:
    """Show the form for a new scope, or for the one with this name."""
    resource = _resource(view, resource_id)
    return _scope_form(view, resource, name, _values(_scope_of(resource, name)) if name else {})


def _typed_scope(view: SubmittedForm, resource_id: str) -> Response[str]:
    """Show the form of a scope with what was typed."""
    return _scope_form(view, _resource(view, resource_id), view.form.get("was", ""), view.values)


def _kept_scope(view: SubmittedForm, resource_id: str) -> Response[str]:
    """Show the form of a scope with what it says still."""
    resource, was = _resource(view, resource_id), view.form.get("was", "")
    return _scope_form(view, resource, was, _values(_scope_of(resource, was)))


def _scope_form(view: View, resource: ApiRecord, was: str, values: Mapping[str, str]) -> Response[str]:
    return view.render(
        "apis/scope.html",
        service=resource,
        was=was,
        **_group_choices(view, values),
        values=values,
    )


def _group_choices(view: View, values: Mapping[str, str]) -> dict[str, Any]:
    """Return the groups that are offered as holders: those that are ticked, and the first of the others."""
    ticked = named_ids(name.removeprefix(GROUP) for name in values if name.startswith(GROUP))
    offered = view.services.apis.list_groups(view.principal)
    named = view.services.apis.name_groups(view.principal, ticked)
    named |= {group.group_id: group.name for group in offered}
    return {"groups": sorted(named.items()), "has_more_groups": offered.count > len(named)}


@form("/{resource_id:str}/scope", APIS, again=_typed_scope)
def save_scope(resource_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Add a scope, or put what is sent in the place of one."""
    resource, was = _resource(sent, resource_id), sent.form.get("was", "")
    if was and sent.form.get(SEEN) != version_of(_scope_of(resource, was)):
        raise ChangedMeanwhile("Somebody else changed this scope meanwhile: look at it again.")
    with at_field(scopes="scope"):
        _save(sent, resource, [*_others(resource, was), _scope(sent)])
    return see_other(f"{APIS.path}/{resource.resource_id}?notice=scope")


@form("/{resource_id:str}/scope/remove", APIS, asks=NEVER_ASKS, again=_kept_scope)
def remove_scope(resource_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Take a scope from the API; it keeps one at least."""
    resource, was = _resource(sent, resource_id), sent.form.get("was", "")
    _scope_of(resource, was)
    with at_field(scopes="scope"):
        _save(sent, resource, _others(resource, was))
    return see_other(f"{APIS.path}/{resource.resource_id}?notice=scope")


@page("/{resource_id:str}/delete", APIS)
def delete_page(resource_id: IdInPath, view: InjectedView) -> Response[str]:
    """Say what ends with the API."""
    resource = _resource(view, resource_id)
    return view.render(
        "apis/delete.html",
        service=resource,
        key_count=view.services.apis.count_keys(view.principal, resource.resource_id),
        word=DELETION_WORD,
    )


@form("/{resource_id:str}/delete", APIS, asks=NEVER_ASKS, again=delete_page)
def delete(resource_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Delete the API, if the word was typed."""
    resource = _resource(sent, resource_id)
    check_typed(sent)
    sent.services.apis.delete(sent.principal, resource.resource_id, sent.origin)
    return see_other(f"{APIS.path}?notice=deleted&deleted={resource.resource_id}")


def _resource(view: View, resource_id: str) -> ApiRecord:
    return view.services.apis.get(view.principal, read_id(resource_id))


def _changes(sent: SubmittedForm) -> Any:
    """Return what is said of the API anew, each under its name."""
    return sent.changed("name", "identifier", "description")


def _save(sent: SubmittedForm, resource: ApiRecord, scopes: list[ScopeToRegister]) -> None:
    """Give the API these scopes; the rest of it stays."""
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
        raise InvalidInput("scopes", "Choose who the scope is available to.")
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
            raise InvalidInput("group_numbers", "Enter the numbers of groups, such as 17, 23.")
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
