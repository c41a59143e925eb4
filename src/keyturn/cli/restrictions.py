"""What bounds a key, its life too: options of the commands that make keys, and words of their lists.

Imports nothing of the server: those who only call one use it too.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar, cast

import click

from keyturn.core.jwk import is_thumbprint
from keyturn.core.lifetimes import Lifetime
from keyturn.core.networks import Network, read_network, readable_network

F = TypeVar("F", bound=Callable[..., Any])

SHOWN_CHARACTERS = 8
"""What a list shows of a thumbprint: enough to tell a person's key pairs apart."""


class NetworkType(click.ParamType[Network, Any]):
    """`192.0.2.0/24`, `2001:db8::/32`, or one address."""

    name = "NETWORK"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Network:
        """Read the network."""
        try:
            return read_network(value) if isinstance(value, str) else cast(Network, value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


class ThumbprintType(click.ParamType[str, Any]):
    """43 characters of base64url, as `keyturn thumbprint` prints them."""

    name = "THUMBPRINT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the thumbprint."""
        if not is_thumbprint(value):
            self.fail("give the 43 characters that `keyturn thumbprint FILE` prints.", param, ctx)
        return cast(str, value)


class LifetimeType(click.ParamType[Lifetime, Any]):
    """`90d`, a date like 2027-01-31, or `never`."""

    name = "90d|DATE|never"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Lifetime:
        """Read the choice."""
        if isinstance(value, Lifetime):
            return value
        if value == "never":
            return Lifetime(None)
        if value.endswith("d") and value[:-1].isascii() and value[:-1].isdigit() and len(value) <= 5:
            return Lifetime(datetime.now(UTC) + timedelta(days=int(value[:-1])))
        try:
            day = date.fromisoformat(value)
        except ValueError:
            self.fail("give a number of days like 90d, a date like 2027-01-31, or never.", param, ctx)
        try:
            return Lifetime(datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1))
        except OverflowError:
            self.fail("give an earlier date, or never.", param, ctx)


def expires_option(default: str) -> Callable[[F], F]:
    """Add `--expires`; `default` says when a key ends without it."""
    return click.option("--expires", type=LifetimeType(), help=f"When it ends. [default: {default}]")


def allow_from_option(command: F) -> F:
    """Add `--allow-from`."""
    return click.option(
        "--allow-from",
        "sources",
        type=NetworkType(),
        multiple=True,
        help="A network that the key may be used from, like 192.0.2.0/24; can be given several times.",
    )(command)


def dpop_jkt_option(command: F) -> F:
    """Add `--dpop-jkt`."""
    return click.option(
        "--dpop-jkt",
        type=ThumbprintType(),
        help="The thumbprint of a key pair, without whose proofs the key opens nothing (RFC 9449).",
    )(command)


def restriction_text(
    *, project_id: int | None, scopes: Iterable[str] | None, sources: Sequence[str] | None, jkt: str | None
) -> str:
    """Return what a list says a key is narrowed to; empty for one that is all that its owner is."""
    told = [] if project_id is None else [f"project {project_id}"]
    told += sorted(scopes or ())
    told += map(readable_network, sources or ())
    if jkt is not None:
        told.append(f"key pair {jkt[:SHOWN_CHARACTERS]}…")
    return ", ".join(told)
