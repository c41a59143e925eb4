"""`keyturn admin service …`, or `keyturn admin api …`: the APIs that are registered here."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from keyturn.cli.admin.options import database_option, opened_services
from keyturn.cli.browser import APIS_PAGE, show_page, web_option
from keyturn.cli.command import Group
from keyturn.cli.output import json_option, print_json
from keyturn.cli.tables import Column, as_object, print_list
from keyturn.core.apis import ApiRecord, ResourceScope
from keyturn.core.pages import every
from keyturn.errors import InvalidInput, NotFound
from keyturn.verifying.origin import COMMAND_LINE

if TYPE_CHECKING:
    from keyturn.composition import Services
    from keyturn.services.apis.fields import ScopeToRegister

NO_APIS = "There is no API yet. `keyturn admin api add NAME URI --scope SCOPE` registers one."
_EXAMPLES = {
    "keyturn admin api add Orders https://orders.example.com --scope orders:read": "Register an API",
    "keyturn admin api list": "List all APIs with their scopes",
}


@click.group(cls=Group, examples=_EXAMPLES, more="howto/apis-and-scopes.md")
def service() -> None:
    """Register, list and delete APIs that tokens are for."""


@service.command(
    examples={
        "keyturn admin api add Orders https://orders.example.com --scope orders:read": "Register an API",
        "keyturn admin api add HR https://hr.example.com --scope 'hr:read=Read staff'": "Describe a scope",
    }
)
@click.argument("name")
@click.argument("identifier", metavar="URI")
@click.option("--description", help="A description for people.")
@click.option(
    "--scope",
    "scopes",
    metavar="NAME[=WHAT IT ALLOWS]",
    multiple=True,
    required=True,
    help="A scope of it, like 'orders:read=Read orders'. Can be repeated.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="GROUP",
    help="A group whose members may hold these scopes. Can be repeated. [default: everyone]",
)
@json_option
@database_option
def add(
    name: str,
    identifier: str,
    description: str | None,
    scopes: tuple[str, ...],
    groups: tuple[str, ...],
    *,
    as_json: bool,
    database: str | None,
) -> None:
    """Register the API that people know as NAME, and tokens as URI."""
    with opened_services(database) as services:
        group_ids = _group_ids(services, groups) if groups else None
        resource = services.apis.register(
            COMMAND_LINE,
            name=name,
            identifier=identifier,
            description=description,
            scopes=[_scope(text, group_ids) for text in scopes],
        )
        if as_json:
            columns = _columns(_group_names(services))
            print_json([as_object((resource, scope), columns) for scope in resource.scopes])
            return
    click.echo(f"API {resource.resource_id} is registered: {resource.name}, {resource.identifier}.")


@service.command(
    "list",
    examples={
        "keyturn admin api list": "List all APIs with their scopes",
        "keyturn admin api list --json | jq -r '.[].scope'": "List the scopes",
        "keyturn admin api list --web": "Open the page of APIs",
    },
)
@json_option
@web_option
@database_option
def list_services(*, as_json: bool, web: bool, database: str | None) -> None:
    """List the APIs, with their scopes and who may hold them."""
    with opened_services(database) as services:
        if web:
            show_page(services.settings.public_url + APIS_PAGE)
            return
        apis = every(lambda offset, size: services.apis.list_all(offset=offset, size=size))
        rows = [(resource, scope) for resource in apis for scope in resource.scopes]
        print_list(rows, _columns(_group_names(services)), as_json=as_json, if_none=NO_APIS)


def _group_names(services: "Services") -> dict[int, str]:
    groups = every(lambda offset, size: services.groups.list_all(offset=offset, size=size))
    return {group.group_id: group.name for group in groups}


def _columns(group_names: Mapping[int, str]) -> tuple[Column[tuple[ApiRecord, ResourceScope]], ...]:
    return (
        Column("ID", "id", lambda row: row[0].resource_id),
        Column("API", "name", lambda row: row[0].name, is_flexible=True),
        Column("Identifier", "identifier", lambda row: row[0].identifier, is_flexible=True),
        Column("Scope", "scope", lambda row: row[1].name, is_flexible=True),
        Column("Held by", "heldBy", lambda row: row[1].held_by(group_names), is_flexible=True),
    )


@service.command(examples={"keyturn admin api delete 3": "Delete the API with the ID 3"})
@click.argument("service_id", type=int)
@database_option
def delete(service_id: int, database: str | None) -> None:
    """Delete the API with this ID. No key or token covers its scopes any more."""
    with opened_services(database) as services:
        try:
            gone = services.apis.unregister(COMMAND_LINE, service_id)
        except NotFound:
            raise NotFound(f"There is no API {service_id}: see `keyturn admin api list`.") from None
    click.echo(f"API {service_id}, {gone.name}, is deleted.")


def _scope(text: str, group_ids: list[int] | None) -> "ScopeToRegister":
    from keyturn.services.apis.fields import ScopeToRegister

    name, _, description = text.partition("=")
    return ScopeToRegister(name, description or None, group_ids)


def _group_ids(services: "Services", names: tuple[str, ...]) -> list[int]:
    ids = services.groups.ids(names)
    missing = [name for name in names if name not in ids]
    if missing:
        raise InvalidInput("group", f"There is no group {missing[0]}: create it on the Groups page first.")
    return [ids[name] for name in names]


api = Group("api", commands=service.commands, help=service.help, examples=_EXAMPLES, more=service.more)
"""The same commands under their other name."""
