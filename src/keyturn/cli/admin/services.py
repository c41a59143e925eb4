"""`keyturn admin service …`, or `keyturn admin api …`: the APIs that are registered here."""

from collections.abc import Mapping

import click

from keyturn.cli.admin.options import database_option, opened_services
from keyturn.cli.output import json_option
from keyturn.cli.tables import Column, print_list
from keyturn.composition import Services
from keyturn.core.apis import ApiRecord, ResourceScope
from keyturn.core.pages import every
from keyturn.errors import InvalidInput, NotFound
from keyturn.services.apis.fields import ScopeToRegister
from keyturn.verifying.origin import COMMAND_LINE


@click.group()
def service() -> None:
    """Register, list and delete APIs that tokens are for."""


@service.command()
@click.argument("name")
@click.argument("identifier", metavar="URI")
@click.option("--description", help="A description for people.")
@click.option(
    "--scope",
    "scopes",
    metavar="NAME[=WHAT IT ALLOWS]",
    multiple=True,
    required=True,
    help="A scope of it, like 'orders:read=Read orders'; can be given several times.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    help="A group whose members may hold these scopes; can be given several times. [default: everyone]",
)
@database_option
def add(
    name: str,
    identifier: str,
    description: str | None,
    scopes: tuple[str, ...],
    groups: tuple[str, ...],
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
    click.echo(f"Service {resource.resource_id} is registered: {resource.name}, {resource.identifier}.")


@service.command("list")
@json_option
@database_option
def list_services(*, as_json: bool, database: str | None) -> None:
    """List the services, with their scopes and who may hold them."""
    with opened_services(database) as services:
        apis = every(lambda offset, size: services.apis.list_all(offset=offset, size=size))
        rows = [(resource, scope) for resource in apis for scope in resource.scopes]
        groups = every(lambda offset, size: services.groups.list_all(offset=offset, size=size))
        names = {group.group_id: group.name for group in groups}
        print_list(rows, _columns(names), as_json=as_json)


def _columns(group_names: Mapping[int, str]) -> tuple[Column[tuple[ApiRecord, ResourceScope]], ...]:
    return (
        Column("id", "id", lambda row: row[0].resource_id),
        Column("service", "name", lambda row: row[0].name),
        Column("identifier", "identifier", lambda row: row[0].identifier),
        Column("scope", "scope", lambda row: row[1].name),
        Column("held by", "heldBy", lambda row: row[1].held_by(group_names)),
    )


@service.command()
@click.argument("service_id", type=int)
@database_option
def delete(service_id: int, database: str | None) -> None:
    """Delete the service with this id. No key or token is good for it any more."""
    with opened_services(database) as services:
        try:
            gone = services.apis.unregister(COMMAND_LINE, service_id)
        except NotFound:
            raise NotFound(f"There is no service {service_id}: see `keyturn admin service list`.") from None
    click.echo(f"Service {service_id}, {gone.name}, is deleted.")


def _scope(text: str, group_ids: list[int] | None) -> ScopeToRegister:
    name, _, description = text.partition("=")
    return ScopeToRegister(name, description or None, group_ids)


def _group_ids(services: Services, names: tuple[str, ...]) -> list[int]:
    ids = services.groups.ids(names)
    missing = [name for name in names if name not in ids]
    if missing:
        raise InvalidInput("group", f"There is no group {missing[0]}: make it on the Groups page first.")
    return [ids[name] for name in names]


api = click.Group("api", commands=service.commands, help=service.help)
"""The same commands under their other name."""
