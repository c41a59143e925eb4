"""The commands of those who call a server: `configure`, `whoami`, `token`, `api`."""

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click
import httpx
import msgspec

from keyturn.cli.output import json_option, print_json
from keyturn.cli.remote.profiles import (
    CA_FILE_VARIABLE,
    DEFAULT_PROFILE,
    KEY_VARIABLE,
    PROFILE_VARIABLE,
    URL_VARIABLE,
    Profile,
    check_url,
    find_ca_file,
    is_for_keyring,
    name_to_keep,
    read_profile,
    sentence_of,
    write_profile,
)
from keyturn.cli.standard_input import read_stdin
from keyturn.client import ApiClient
from keyturn.client.api import ServerRefused, User
from keyturn.client.tokens import TokenKeeper
from keyturn.core.loopback import httpx_options
from keyturn.core.own_credential import read_own_credential
from keyturn.core.shown import shown_json
from keyturn.errors import InvalidInput

MAX_BODY_BYTES = 64 * 1024
TIMEOUT_SECONDS = 10.0
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.6.2."""

F = TypeVar("F", bound=Callable[..., Any])


def profile_option(command: F) -> F:
    """Add `--profile`."""
    return click.option(
        "--profile",
        envvar=PROFILE_VARIABLE,
        help=f"Which server and key, as configured. [env: {PROFILE_VARIABLE}; default: {URL_VARIABLE} and "
        f"{KEY_VARIABLE}, or else the profile {DEFAULT_PROFILE}]",
    )(command)


def ca_file_option(command: F) -> F:
    """Add `--ca-file`."""
    return click.option(
        "--ca-file",
        metavar="FILE",
        help="The certificates (PEM) to trust for this server, instead of the system's. The profile keeps "
        f"it. [env: {CA_FILE_VARIABLE}]",
    )(command)


def keyring_option(command: F) -> F:
    """Add `--keyring`."""
    return click.option(
        "--keyring/--no-keyring",
        default=None,
        help="Keep the key in the keyring of this system, or in a file. [default: as before, or a file]",
    )(command)


def read_key(given: str) -> str:
    """Return the key that a person gave, without blanks around it; raise `InvalidInput` for what is none."""
    try:
        return read_own_credential(given.strip(" \t\r\n"))
    except ValueError as error:
        raise InvalidInput("key", sentence_of(error)) from None


def client_of(profile: Profile) -> ApiClient:
    """Return a client of the server of a profile."""
    return ApiClient(profile.url, profile.key, timeout_seconds=TIMEOUT_SECONDS, tls=profile.tls)


def chosen_ca_file(given: str | None, profile: str) -> str | None:
    """Return the file of certificates for a server: as given, or as the profile has it; None for none."""
    return str(Path(given).absolute()) if given is not None else find_ca_file(profile)


@click.command()
@click.option("--url", prompt="Address of the server", help="Like https://keys.example.com.")
@click.option("--key-stdin", is_flag=True, help="Read the key from standard input, without asking.")
@ca_file_option
@keyring_option
@profile_option
def configure(
    *, url: str, key_stdin: bool, ca_file: str | None, keyring: bool | None, profile: str | None
) -> None:
    """Keep the address of a server and a key for it, once the server has accepted the key."""
    name = name_to_keep(profile)
    if not key_stdin and not sys.stdin.isatty():
        raise InvalidInput("key", "There is no terminal to ask on: pipe the key in, with --key-stdin.")
    key = read_key(read_stdin("key") if key_stdin else click.prompt("Key", hide_input=True))
    check_url(url)
    kept = Profile(
        url.rstrip("/"),
        key,
        is_in_keyring=is_for_keyring(name, chosen=keyring),
        ca_file=chosen_ca_file(ca_file, name),
    )
    with client_of(kept) as client:
        user = _owner(client, url)
    write_profile(name, kept)
    click.echo(f"You are {user.userid} on {url}. The key is kept in {kept.location}.")


def _owner(client: ApiClient, url: str) -> User:
    """Return whose key it is; raise `InvalidInput` if the server does not accept it."""
    try:
        return client.current_user()
    except ServerRefused as refused:
        if refused.status != httpx.codes.UNAUTHORIZED:
            raise
        raise InvalidInput(
            "key",
            f"{url} does not accept this key: see that it is whole, was made there, and is not revoked.",
        ) from None


@click.command()
@json_option
@profile_option
def whoami(*, profile: str | None, as_json: bool) -> None:
    """Say whose key this is, and what the key carries: it may be less than its owner may do."""
    with client_of(read_profile(profile)) as client:
        user, carried = client.current_user(), client.current_credential()
    if as_json:
        print_json(msgspec.to_builtins(user) | msgspec.to_builtins(carried))
        return
    scopes = f", by a key for {', '.join(sorted(carried.scopes))}" if carried.scopes else ""
    click.echo(f"{user.userid}{scopes}, with {', '.join(carried.permissions) or 'no permissions'}")


@click.command()
@click.option("--resource", metavar="URI", help="The identifier of an API: the token is for it alone.")
@click.option("--scope", "scopes", multiple=True, help="A scope that it covers; can be given several times.")
@profile_option
def token(*, resource: str | None, scopes: tuple[str, ...], profile: str | None) -> None:
    """Print a bearer token and nothing else, for `curl -H "Authorization: Bearer $(keyturn token)"`."""
    chosen = read_profile(profile)
    resource = resource or _only_service(chosen)
    keeper = TokenKeeper(chosen.url, chosen.key, resource=resource, scopes=scopes)
    with httpx.Client(timeout=TIMEOUT_SECONDS, **httpx_options(chosen.url, chosen.tls)) as http:
        answer = http.post(keeper.exchange_url, content=keeper.body(), headers=keeper.headers())
    click.echo(keeper.keep(answer.status_code, answer.content))


def _only_service(profile: Profile) -> str | None:
    """Return the identifier of the one API that the profile's key is for, and say so; None for none.

    A token that names no API is for Keyturn itself, and that API would refuse it.
    """
    with client_of(profile) as client:
        scopes = set(client.current_credential().scopes)
        services = client.list_services() if scopes else []
    found = [one for one in services if scopes <= {scope.name for scope in one.scopes}]
    if len(found) != 1:
        return None
    (service,) = found
    click.echo(f"The key covers {service.name} alone, so the token is for {service.identifier}.", err=True)
    return service.identifier


@click.command()
@click.argument("method")
@click.argument("path")
@click.option("--data", help="The JSON body; @FILE reads it from a file, - from standard input.")
@profile_option
def api(*, method: str, path: str, data: str | None, profile: str | None) -> None:
    """Ask anything of the API, like `keyturn api GET /bim/user`, and print the answer."""
    if not _METHOD.fullmatch(method):
        raise InvalidInput("method", "Give a method of HTTP, like GET.")
    if not path.startswith("/") or path.startswith("//"):
        raise InvalidInput("path", "Give a path that begins with one slash, like /bim/user.")
    if not path.isprintable():
        raise InvalidInput("path", "Give a path without line breaks and other characters that nobody sees.")
    body = None if data is None else _read_body(data)
    with client_of(read_profile(profile)) as client:
        answer = client.request(method.upper(), path, json=body)
    try:
        click.echo(shown_json(msgspec.json.format(answer)).decode())
    except msgspec.DecodeError:
        click.echo(answer)


def _read_body(data: str) -> Any:
    """Return the body that was given; raise `InvalidInput` if it is no JSON."""
    if data == "-":
        text = sys.stdin.buffer.read(MAX_BODY_BYTES)
    elif data.startswith("@"):
        try:
            with open(data[1:], "rb") as file:  # noqa: PTH123 - a path as the person typed it
                text = file.read(MAX_BODY_BYTES)
        except OSError as error:
            raise InvalidInput("data", f"{data[1:]} cannot be read: {error.strerror}.") from None
    else:
        text = data.encode("utf-8", "surrogatepass")
    with suppress(msgspec.DecodeError, UnicodeDecodeError):  # Which carry what was read.
        return msgspec.json.decode(text)
    raise InvalidInput("data", "The body is no JSON.")
