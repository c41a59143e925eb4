"""`keyturn key …`: one's own keys on a server."""

import re
import uuid
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any

import click
import httpx
import msgspec

from keyturn.cli.browser import KEYS_PAGE, show_page, web_option
from keyturn.cli.command import Group
from keyturn.cli.output import json_option, json_text, print_secret
from keyturn.cli.remote.commands import client_of, profile_option
from keyturn.cli.remote.profiles import (
    DEFAULT_PROFILE,
    KEY_VARIABLE,
    Profile,
    is_from_environment,
    read_profile,
    write_profile,
)
from keyturn.cli.restrictions import (
    as_arguments,
    expires_option,
    restriction_options,
    restriction_text,
    restrictions_of,
)
from keyturn.cli.tables import Column, as_object, print_list
from keyturn.client import ApiClient, ApiKey, NewApiKey, ServerRefused
from keyturn.core.lifetimes import Lifetime
from keyturn.core.restriction_kinds import KINDS
from keyturn.core.restrictions import Restrictions
from keyturn.errors import CannotStart, KeyturnError

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_MAX_OVERLAP_SECONDS = 24 * 3600


class OverlapType(click.ParamType[int, Any]):
    """`0`, `30s`, `15m`, `1h`: in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the choice."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([0-9]{1,5})([smh]?)", value)
        seconds = int(found[1]) * _UNITS[found[2]] if found is not None else -1
        if not 0 <= seconds <= _MAX_OVERLAP_SECONDS:
            self.fail("give a time like 0, 30s, 15m or 1h, of 24h at most.", param, ctx)
        return seconds


def _restriction(name: str, one: ApiKey) -> object:
    return restrictions_of(one).to_wire()[name]


_COLUMNS: tuple[Column[ApiKey], ...] = (
    Column("ID", "id", lambda one: one.id),
    Column("Name", "name", lambda one: one.name, is_flexible=True),
    Column("Key", "masked", lambda one: one.masked),
    Column("State", "state", lambda one: one.state),
    Column(None, "createdAt", lambda one: one.created_at),
    Column("Expires", "expiresAt", lambda one: one.expires_at, missing="never"),
    Column("Last used", "lastUsedAt", lambda one: one.last_used_at, missing="never"),
    Column(
        "Limits",
        None,
        lambda one: restriction_text(one.project, restrictions_of(one)),
        is_flexible=True,
    ),
    Column(None, "project", lambda one: one.project),
    *(Column(None, kind.wire, partial(_restriction, kind.wire)) for kind in KINDS),
)


@click.group(
    cls=Group,
    examples={
        'keyturn key create --name "nightly export" --expires 90d': "Create a key for 90 days",
        "keyturn key list": "List your keys",
        "keyturn key revoke 12": "Revoke the key with the ID 12",
    },
    more="howto/use-the-command-line.md",
)
def key() -> None:
    """Create, list, rotate and revoke your own keys."""


@key.command(
    examples={
        'keyturn key create --name "nightly export" --expires 90d': "Create a key for 90 days",
        "keyturn key create --allow-method GET --allow-path /data": "Create a key that can only read",
        "keyturn key create --json | jq -r .apikey > key.txt": "Keep a key in a file",
        "keyturn key create --web": "Use the form in the browser",
    },
    more="howto/restrict-a-key.md",
)
@click.option("--name", help="The purpose of the key.")
@click.option(
    "--project", "project_id", type=int, metavar="ID", help="The only project whose connections it sees."
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    help="A scope of an API that it covers. Can be repeated. [default: all that you may do]",
)
@expires_option("as the server is set, a year unless told otherwise")
@restriction_options
@json_option
@web_option
@profile_option
def create(
    *,
    name: str | None,
    project_id: int | None,
    expires: Lifetime | None,
    restrictions: Restrictions,
    profile: str | None,
    as_json: bool,
    web: bool,
) -> None:
    """Create a key, and print it and nothing else. It cannot be shown again."""
    known = read_profile(profile)
    if web:
        show_page(known.url + KEYS_PAGE)
        return
    with client_of(known) as client:
        made = client.create_key(
            name,
            project_id=project_id,
            **as_arguments(restrictions),
            expires_at=msgspec.UNSET if expires is None else expires.expires_at,
        )
    _print(made, as_json=as_json)


@key.command(
    "list",
    examples={
        "keyturn key list": "List your keys",
        "keyturn key list --json | jq -r '.[] | select(.lastUsedAt == null) | .id'": "Find unused keys",
        "keyturn key list | cut -f 2": "Print the names",
        "keyturn key list --web": "Open the page of your keys",
    },
)
@json_option
@web_option
@profile_option
def list_keys(*, profile: str | None, as_json: bool, web: bool) -> None:
    """List your keys, without their secrets."""
    known = read_profile(profile)
    if web:
        show_page(known.url + KEYS_PAGE)
        return
    with client_of(known) as client:
        keys = list(client.list_keys())
    print_list(keys, _COLUMNS, as_json=as_json, if_none="You have no keys. `keyturn key create` creates one.")


@key.command(
    examples={
        "keyturn key revoke 12": "Revoke the key with the ID 12",
        "keyturn key revoke 12 --web": "See it first, and revoke it on its page",
    },
    more="howto/when-a-key-leaks.md",
)
@click.argument("key_id", type=int)
@web_option
@profile_option
def revoke(*, key_id: int, profile: str | None, web: bool) -> None:
    """Revoke one of your keys, and every token made from it, at once."""
    known = read_profile(profile)
    if web:
        show_page(f"{known.url}{KEYS_PAGE}/{key_id}/revoke")
        return
    with client_of(known) as client:
        client.revoke_key(key_id)
    click.echo(f"Key {key_id} is revoked.")


@key.command(
    examples={
        "keyturn key rotate 12": "Give the key of the profile a new secret",
        "keyturn key rotate 12 --overlap 1h": "Let the former secret work for an hour",
        "keyturn key rotate 13 --web": "Rotate another key on its page",
    },
    more="howto/rotate-a-key.md",
)
@click.argument("key_id", type=int)
@click.option(
    "--overlap",
    type=OverlapType(),
    default="0",
    show_default=True,
    help="How long the former secret works on, like 30s, 15m or 1h; 24h at most.",
)
@json_option
@web_option
@profile_option
def rotate(*, key_id: int, overlap: int, profile: str | None, as_json: bool, web: bool) -> None:
    """Give the key of the profile a new secret.

    Print the secret and nothing else; it cannot be shown again. The profile keeps it. Rotate any other key
    with itself, or on its page with --web.
    """
    known = read_profile(profile)
    if web:
        show_page(f"{known.url}{KEYS_PAGE}/{key_id}/rotate")
        return
    with client_of(known) as client:
        is_own = _is_own(client, key_id)
        made = _rotated(client, key_id, overlap)
    if is_own:
        _keep(profile, replace(known, key=made.apikey))
    _print(made, as_json=as_json)


def _is_own(client: ApiClient, key_id: int) -> bool:
    """Return whether the key of the profile is this one, as far as the server says."""
    try:
        return client.current_credential().key_id == key_id
    except ServerRefused as refused:
        if refused.status != HTTPStatus.UNAUTHORIZED:
            raise
        return True  # One that is restricted to some requests is not told; it rotates no other than itself.


def _print(made: NewApiKey, *, as_json: bool) -> None:
    """Print a key that is shown once."""
    print_secret(
        json_text(as_object(made, _COLUMNS) | {"apikey": made.apikey}) if as_json else made.apikey,
        otherwise=f"The key could not be printed, and lives: `keyturn key revoke {made.id}` ends it.",
    )


def _rotated(client: ApiClient, key_id: int, overlap_seconds: int) -> NewApiKey:
    """Rotate a key; when the answer is lost, ask once more for the same rotation."""
    idempotency_key = str(uuid.uuid4())
    try:
        return client.rotate_key(key_id, overlap_seconds=overlap_seconds, idempotency_key=idempotency_key)
    except httpx.TransportError:
        return client.rotate_key(key_id, overlap_seconds=overlap_seconds, idempotency_key=idempotency_key)


def _keep(name: str | None, profile: Profile) -> None:
    """Keep the new secret of the profile's own key; print it if that fails, since it is never shown again."""
    if is_from_environment(name):
        click.echo(f"{KEY_VARIABLE} holds the former secret: put the new one there.", err=True)
        return
    name = name or DEFAULT_PROFILE
    try:
        write_profile(name, profile)
    except (KeyturnError, OSError) as error:
        click.echo(profile.key, err=True)
        raise CannotStart(
            f"The key is rotated, and the profile {name} could not keep it ({error}): the line above is the "
            "new key, give it to `keyturn configure --key-stdin`."
        ) from None
    click.echo(f"The profile {name} has the new secret, in {profile.location}.", err=True)
