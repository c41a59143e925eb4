"""`keyturn key …`: one's own keys on a server."""

import re
import uuid
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import click
import httpx
import msgspec

from keyturn.cli.output import json_option, json_text, print_json, print_secret
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
from keyturn.cli.tables import never_without, print_table
from keyturn.client import ApiClient, NewApiKey, ServerRefused
from keyturn.core.lifetimes import Lifetime
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


@click.group()
def key() -> None:
    """Make, list, rotate and revoke your own keys."""


@key.command()
@click.option("--name", help="What the key is for.")
@click.option(
    "--project", "project_id", type=int, help="A project, by number, whose connections alone it sees."
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    help="A scope that it covers, of a service; can be given several times. [default: all that you may do]",
)
@expires_option("as the server is set, a year unless told otherwise")
@restriction_options
@json_option
@profile_option
def create(
    *,
    name: str | None,
    project_id: int | None,
    expires: Lifetime | None,
    restrictions: Restrictions,
    profile: str | None,
    as_json: bool,
) -> None:
    """Make a key, and print it and nothing else. It cannot be shown again."""
    with client_of(read_profile(profile)) as client:
        made = client.create_key(
            name,
            project_id=project_id,
            **as_arguments(restrictions),
            expires_at=msgspec.UNSET if expires is None else expires.expires_at,
        )
    _print(made, as_json=as_json)


@key.command("list")
@json_option
@profile_option
def list_keys(*, profile: str | None, as_json: bool) -> None:
    """List your keys, without their secrets."""
    with client_of(read_profile(profile)) as client:
        keys = list(client.list_keys())
    if as_json:
        print_json(keys)
        return
    rows = [
        (
            str(one.id),
            one.masked,
            one.name or "",
            never_without(one.created_at),
            never_without(one.expires_at),
            never_without(one.last_used_at),
            restriction_text(one.project, restrictions_of(one)),
            one.state,
        )
        for one in keys
    ]
    print_table(("id", "key", "name", "made", "expires", "last used", "only", "state"), rows)


@key.command()
@click.argument("key_id", type=int)
@profile_option
def revoke(*, key_id: int, profile: str | None) -> None:
    """Revoke one of your keys, and every token made from it."""
    with client_of(read_profile(profile)) as client:
        client.revoke_key(key_id)
    click.echo(f"Key {key_id} is revoked.")


@key.command()
@click.argument("key_id", type=int)
@click.option(
    "--overlap",
    type=OverlapType(),
    default="0",
    show_default=True,
    help="How long the former secret goes on, like 30s, 15m or 1h; 24h at most.",
)
@json_option
@profile_option
def rotate(*, key_id: int, overlap: int, profile: str | None, as_json: bool) -> None:
    """Give the key of the profile a new secret, and print it and nothing else. It cannot be shown again.

    The profile keeps the new secret. Any other key is rotated with itself, or on its page.
    """
    known = read_profile(profile)
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
        json_text(made) if as_json else made.apikey,
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
