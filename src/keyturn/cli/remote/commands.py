"""The commands of those who call a server: `configure`, `whoami`, `token`, `api`."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import httpx
import msgspec

from keyturn.cli.browser import PROFILE_PAGE, TOKEN_PAGE, show_page, web_option
from keyturn.cli.command import Command
from keyturn.cli.output import json_option, print_json
from keyturn.cli.progress import SLOW_SECONDS, working
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
from keyturn.core.encoding import base64url_decode
from keyturn.core.loopback import httpx_options
from keyturn.core.own_credential import read_own_credential
from keyturn.core.shown import shown_json
from keyturn.core.times import wire_time
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
        metavar="NAME",
        help=f"The server and key to use. [env: {PROFILE_VARIABLE}; default: {URL_VARIABLE} and "
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


@contextmanager
def client_of(profile: Profile) -> Iterator[ApiClient]:
    """Open a client of the server of a profile. A person who waits for it is told so."""
    waiting = working(f"Waiting for {profile.url}…", after_seconds=SLOW_SECONDS)
    with (
        waiting,
        ApiClient(profile.url, profile.key, timeout_seconds=TIMEOUT_SECONDS, tls=profile.tls) as client,
    ):
        yield client


def chosen_ca_file(given: str | None, profile: str) -> str | None:
    """Return the file of certificates for a server: as given, or as the profile has it; None for none."""
    return str(Path(given).absolute()) if given is not None else find_ca_file(profile)


@click.command(
    cls=Command,
    examples={
        "keyturn configure --url https://keys.example.com": "Type the key without showing it",
        "keyturn configure --url https://keys.example.com --key-stdin < key.txt": "Read the key from a file",
    },
    more="howto/use-the-command-line.md",
)
@click.option("--url", prompt="Address of the server", help="Like https://keys.example.com.")
@click.option("--key-stdin", is_flag=True, help="Read the key from standard input, without asking.")
@ca_file_option
@keyring_option
@json_option
@profile_option
def configure(
    *,
    url: str,
    key_stdin: bool,
    ca_file: str | None,
    keyring: bool | None,
    as_json: bool,
    profile: str | None,
) -> None:
    """Sign this machine in with a key that you have.

    The profile keeps the address and the key once the server has accepted the key.
    """
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
    if as_json:
        print_json({"url": url, "userid": user.userid, "profile": name, "place": kept.location})
        return
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


@click.command(
    cls=Command,
    examples={
        "keyturn whoami": "Show whose key you use",
        "keyturn whoami --json | jq -r .userid": "Use the user name in a script",
        "keyturn whoami --web": "Open your profile",
    },
    more="howto/use-the-command-line.md",
)
@json_option
@web_option
@profile_option
def whoami(*, profile: str | None, as_json: bool, web: bool) -> None:
    """Show whose key this is, and what it may do: often less than its owner."""
    known = read_profile(profile)
    if web:
        show_page(known.url + PROFILE_PAGE)
        return
    with client_of(known) as client:
        user, carried = client.current_user(), client.current_credential()
    if as_json:
        print_json(msgspec.to_builtins(user) | msgspec.to_builtins(carried))
        return
    scopes = f", by a key for {', '.join(sorted(carried.scopes))}" if carried.scopes else ""
    click.echo(f"{user.userid}{scopes}, with {', '.join(carried.permissions) or 'no permissions'}")


@click.command(
    cls=Command,
    examples={
        'curl -H "Authorization: Bearer $(keyturn token)" https://api.example.com': "Call an API",
        "keyturn token --resource https://orders.example.com": "Get a token for one API",
        "keyturn token --json | jq -r .expiresAt": "See when the token ends",
    },
    more="howto/call-an-api.md",
)
@click.option("--resource", metavar="URI", help="The identifier of the API that the token is for.")
@click.option(
    "--scope", "scopes", multiple=True, metavar="SCOPE", help="A scope that it covers. Can be repeated."
)
@json_option
@web_option
@profile_option
def token(
    *, resource: str | None, scopes: tuple[str, ...], as_json: bool, web: bool, profile: str | None
) -> None:
    """Exchange the key for a bearer token, and print the token and nothing else.

    Without --resource the token is for the only API whose scopes the key covers, or for Keyturn itself.
    """
    chosen = read_profile(profile)
    if web:
        show_page(chosen.url + TOKEN_PAGE)
        return
    resource = resource or _only_service(chosen)
    keeper = TokenKeeper(chosen.url, chosen.key, resource=resource, scopes=scopes)
    waiting = working(f"Waiting for {chosen.url}…", after_seconds=SLOW_SECONDS)
    with waiting, httpx.Client(timeout=TIMEOUT_SECONDS, **httpx_options(chosen.url, chosen.tls)) as http:
        answer = http.post(keeper.exchange_url, content=keeper.body(), headers=keeper.headers())
    text = keeper.keep(answer.status_code, answer.content)
    if not as_json:
        click.echo(text)
        return
    print_json({"token": text, "expiresAt": _end_of(text), "resource": resource})


def _end_of(token: str) -> str | None:
    """Return when a bearer token ends, as it says itself; None if it does not say."""
    claims = token.split(".")[1:2]
    with suppress(msgspec.DecodeError, ValueError, KeyError, TypeError, IndexError):
        return wire_time(
            datetime.fromtimestamp(msgspec.json.decode(base64url_decode(claims[0].encode()))["exp"], UTC)
        )
    return None


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


@click.command(
    cls=Command,
    examples={
        "keyturn api GET /bim/rpc/user/current": "Show your account",
        "keyturn api GET /bim/rpc/user/current | jq -r .email": "Use the answer in a script",
        'keyturn api POST /apikey --data \'{"name": "export"}\'': "Send JSON",
        "keyturn api POST /apikey --data @key.json": "Send a file",
    },
    more="reference/http-api.md",
)
@click.argument("method")
@click.argument("path")
@click.option("--data", metavar="JSON", help="The JSON body; @FILE reads a file, - standard input.")
@profile_option
def api(*, method: str, path: str, data: str | None, profile: str | None) -> None:
    """Send any request to the API of the server, and print the answer as JSON."""
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
    raise InvalidInput("data", "The body is not JSON.")
