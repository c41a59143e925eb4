"""`keyturn login` and `logout`: a key by way of the browser, so that no secret is typed into a terminal."""

import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import click
import httpx

from keyturn.cli.browser import open_in_browser
from keyturn.cli.command import Command
from keyturn.cli.output import json_option, print_json
from keyturn.cli.progress import working
from keyturn.cli.remote.commands import (
    TIMEOUT_SECONDS,
    ca_file_option,
    chosen_ca_file,
    client_of,
    keyring_option,
    profile_option,
)
from keyturn.cli.remote.profiles import (
    DEFAULT_PROFILE,
    Profile,
    check_url,
    find_url,
    is_for_keyring,
    name_to_keep,
    read_profile,
    remove_profile,
    tls_context,
    write_profile,
)
from keyturn.client.api import ServerRefused, User
from keyturn.client.device import DeviceCodes, DeviceKey, DeviceLogin
from keyturn.core.loopback import httpx_options
from keyturn.core.oauth import REVOCATION_PATH
from keyturn.core.times import readable_time, wire_time
from keyturn.errors import InvalidInput, KeyturnError

MAX_NAME_CHARACTERS = 64
NOT_ACCEPTED = "The server no longer accepts {key}; if it should be alive, revoke it on its page."
"""Also a living key is refused: from outside its networks, without its key pair, of somebody disabled."""


@click.command(
    cls=Command,
    examples={
        "keyturn login https://keys.example.com": "Sign in, and approve it in the browser",
        "keyturn login https://keys.example.com --no-browser": "Sign in over SSH: type the code elsewhere",
        "keyturn login https://staging.example.com --profile staging": "Keep a second server",
    },
    more="howto/use-the-command-line.md",
)
@click.argument("url", required=False)
@click.option("--no-browser", is_flag=True, help="Print the address only, and do not open it.")
@ca_file_option
@keyring_option
@json_option
@profile_option
def login(
    url: str | None,
    *,
    no_browser: bool,
    ca_file: str | None,
    keyring: bool | None,
    as_json: bool,
    profile: str | None,
) -> None:
    """Sign this machine in to the server at URL with the browser, and keep the key that it gets.

    The command prints a code. Approve it on the page that opens; no password is typed here.
    """
    name = name_to_keep(profile)
    url = (url or find_url(name) or "").rstrip("/")
    if not url:
        raise InvalidInput("url", "Give the address of the server, like https://keys.example.com.")
    check_url(url)
    ca_file = chosen_ca_file(ca_file, name)
    is_in_keyring = is_for_keyring(name, chosen=keyring)
    former = _former(name)
    granted = _granted(url, tls_context(ca_file), opens_browser=not no_browser)
    ends_at = _end_of(granted)
    kept = Profile(url, granted.key, is_in_keyring=is_in_keyring, ca_file=ca_file)
    try:
        write_profile(name, kept)
    except BaseException:
        _revoke(kept)  # What cannot be kept is not left behind.
        raise
    with client_of(kept) as client:
        user = client.current_user()
    if former is not None:
        click.echo(_what_became_of(former, url, user, name), err=True)
    if as_json:
        expires_at = None if ends_at is None else wire_time(ends_at)
        told = {"url": url, "userid": user.userid, "profile": name, "place": kept.location}
        print_json(told | {"expiresAt": expires_at})
    else:
        end = "never ends" if ends_at is None else f"ends on {readable_time(ends_at)}"
        click.echo(f"You are {user.userid} on {url}. The key is kept in {kept.location} and {end}.")


def _granted(url: str, tls: ssl.SSLContext | None, *, opens_browser: bool) -> DeviceKey:
    """Show the code, and wait until the person has approved it on the page."""
    with DeviceLogin(url, _own_name(), tls=tls) as device:
        codes = device.begin()
        _show(codes, opens_browser=opens_browser)
        with working("Waiting for you to approve it there. Ctrl-C gives up."):
            return device.wait(codes)


@click.command(
    cls=Command,
    examples={
        "keyturn logout": "Revoke the key and forget it",
        "keyturn logout --profile staging --local": "Forget a server that cannot be reached",
    },
    more="howto/use-the-command-line.md",
)
@click.option("--local", is_flag=True, help="Only forget it here, without asking the server.")
@profile_option
def logout(*, local: bool, profile: str | None) -> None:
    """Revoke the key of the profile on its server, and forget the profile."""
    name = name_to_keep(profile)
    if local:
        remove_profile(name)
        click.echo(f"The profile {name} is gone. Its key lives until it ends or is revoked on its page.")
        return
    known = read_profile(name)
    try:
        is_revoked = _revoke(known)
    except (httpx.TransportError, KeyturnError):
        command = f"keyturn logout --local{_option(name)}"
        click.echo(f"`{command}` forgets the profile, and leaves its key alive.", err=True)
        raise
    remove_profile(name)
    said = "The key is revoked." if is_revoked else NOT_ACCEPTED.format(key="this key")
    click.echo(f"{said} The profile {name} is gone.")


def _own_name() -> str:
    """Return what the key is to be called: after this program and this machine."""
    host = "".join(character for character in socket.gethostname() if character.isprintable())
    return f"keyturn on {host}"[:MAX_NAME_CHARACTERS].strip()


def _show(codes: DeviceCodes, *, opens_browser: bool) -> None:
    minutes = max(1, round(codes.expires_in / 60))
    click.echo(
        f"Open {codes.verification_uri} and type the code {codes.user_code} within {minutes} minutes.",
        err=True,
    )
    if opens_browser and open_in_browser(codes.verification_uri_complete):
        click.echo("Your browser was opened there: see that it shows this code.", err=True)


def _end_of(granted: DeviceKey) -> datetime | None:
    """Return when a key ends that was given just now, None for never."""
    if granted.expires_in is None:
        return None
    return datetime.now(UTC) + timedelta(seconds=granted.expires_in)


def _former(profile: str) -> Profile | None:
    """Return what the profile was before; None if there is none, or its key is not to be had."""
    with suppress(KeyturnError):
        return read_profile(profile)
    return None


def _what_became_of(former: Profile, url: str, user: User, profile: str) -> str:
    """Say that the key before this one lives, and how to end it: somebody may use it elsewhere too."""
    page = f"the API Keys page of {former.url}"
    try:
        with client_of(former) as client:
            number, owner = client.current_credential().key_id, client.current_user()
    except ServerRefused:
        return NOT_ACCEPTED.format(key="the former key of this profile")
    except (httpx.TransportError, KeyturnError, ValueError):
        return f"The former key of this profile may be alive: revoke it on {page}."
    if number is None or (former.url, owner.id) != (url, user.id):
        return f"The former key of this profile, of {owner.userid}, is alive: revoke it on {page}."
    command = f"keyturn key revoke {number}{_option(profile)}"
    return f"The former key of this profile is alive: `{command}` ends it."


def _option(profile: str) -> str:
    """Return what a command needs beside its name to be about this profile."""
    return "" if profile == DEFAULT_PROFILE else f" --profile {profile}"


def _revoke(profile: Profile) -> bool:
    """End the key of a profile on its server (RFC 7009); return False if it does not accept the key.

    Raise `KeyturnError` if the server does not do it.
    """
    with httpx.Client(timeout=TIMEOUT_SECONDS, **httpx_options(profile.url, profile.tls)) as http:
        answer = http.post(
            profile.url + REVOCATION_PATH,
            data={"token": profile.key},
            headers={"Authorization": f"Bearer {profile.key}"},
        )
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return False
    if not answer.is_success:
        raise KeyturnError(f"The server did not revoke the key: it answered {answer.status_code}.")
    return True
