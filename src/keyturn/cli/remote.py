"""The commands of those who call a server: `configure`, `whoami`, `token`, `api`."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
import httpx
import msgspec

from keyturn.cli.profiles import DEFAULT_PROFILE, Profile, is_for_keyring, read_profile, write_profile
from keyturn.client import ApiClient
from keyturn.client.api import ServerRefused, User
from keyturn.client.tokens import TokenKeeper, check_address
from keyturn.core.loopback import httpx_options
from keyturn.core.shown import shown_json
from keyturn.errors import InvalidInput

MAX_BODY_BYTES = 64 * 1024
MAX_KEY_CHARACTERS = 4096
TIMEOUT_SECONDS = 10.0

F = TypeVar("F", bound=Callable[..., Any])


def profile_option(command: F) -> F:
    """Add `--profile`."""
    return click.option(
        "--profile", default=DEFAULT_PROFILE, show_default=True, help="Which server and key, as configured."
    )(command)


def json_option(command: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def keyring_option(command: F) -> F:
    """Add `--keyring`."""
    return click.option(
        "--keyring/--no-keyring",
        default=None,
        help="Keep the key in the keyring of this system, or in a file. [default: as before, or a file]",
    )(command)


def check_url(url: str) -> None:
    """Raise `InvalidInput` for an address that would send a key in clear over a network."""
    try:
        check_address(url)
    except ValueError as error:
        raise InvalidInput("url", f"{str(error)[0].upper()}{str(error)[1:]}.") from None


def client_of(profile: str) -> ApiClient:
    """Return a client of the server of a profile."""
    chosen = read_profile(profile)
    return ApiClient(chosen.url, chosen.key, timeout_seconds=TIMEOUT_SECONDS)


def print_json(value: Any) -> None:
    """Print a value as JSON, indented for people and scripts alike."""
    click.echo(shown_json(msgspec.json.format(msgspec.json.encode(value))).decode())


@click.command()
@click.option("--url", prompt="Address of the server", help="Like https://keys.example.com.")
@click.option("--key-stdin", is_flag=True, help="Read the key from standard input, without asking.")
@keyring_option
@profile_option
def configure(*, url: str, key_stdin: bool, keyring: bool | None, profile: str) -> None:
    """Keep the address of a server and a key for it, once the server has accepted the key."""
    if key_stdin:
        key = sys.stdin.read(MAX_KEY_CHARACTERS).strip()
    else:
        key = click.prompt("Key", hide_input=True).strip()
    check_url(url)
    with ApiClient(url, key, timeout_seconds=TIMEOUT_SECONDS) as client:
        user = _owner(client, url)
    kept = Profile(url.rstrip("/"), key, is_in_keyring=is_for_keyring(profile, chosen=keyring))
    write_profile(profile, kept)
    click.echo(f"You are {user.userid} on {url}. The key is kept in {kept.place}.")


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
def whoami(*, profile: str, as_json: bool) -> None:
    """Say whose key this is."""
    with client_of(profile) as client:
        user = client.current_user()
    if as_json:
        print_json(user)
    else:
        click.echo(f"{user.userid}, with {', '.join(user.permissions) or 'no permissions'}")


@click.command()
@click.option("--resource", metavar="URI", help="The identifier of a service: the token is for it alone.")
@click.option("--scope", "scopes", multiple=True, help="A scope that it covers; can be given several times.")
@profile_option
def token(*, resource: str | None, scopes: tuple[str, ...], profile: str) -> None:
    """Print a bearer token and nothing else, for `curl -H "Authorization: Bearer $(keyturn token)"`."""
    chosen = read_profile(profile)
    keeper = TokenKeeper(chosen.url, chosen.key, resource=resource, scopes=scopes)
    with httpx.Client(timeout=TIMEOUT_SECONDS, **httpx_options(chosen.url)) as http:
        answer = http.post(keeper.exchange_url, content=keeper.body(), headers=keeper.headers())
    click.echo(keeper.keep(answer.status_code, answer.content))


@click.command()
@click.argument("method")
@click.argument("path")
@click.option("--data", help="The JSON body; @FILE reads it from a file, - from standard input.")
@profile_option
def api(*, method: str, path: str, data: str | None, profile: str) -> None:
    """Ask anything of the API, like `keyturn api GET /bim/user`, and print the answer."""
    if not path.startswith("/") or path.startswith("//"):
        raise InvalidInput("path", "Give a path that begins with one slash, like /bim/user.")
    body = None if data is None else _read_body(data)
    with client_of(profile) as client:
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
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidInput("data", "The body is no JSON.") from None
