"""Options that bound a new key, its life too, and the words of lists for them.

Imports nothing of the server: those who only call one use it too.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from keyturn.core.jwk import is_thumbprint
from keyturn.core.lifetimes import Lifetime
from keyturn.core.networks import Network, read_network
from keyturn.core.restriction_kinds import KINDS
from keyturn.core.restrictions import Restrictions, read_restrictions, restore_restrictions
from keyturn.errors import InvalidInput

if TYPE_CHECKING:
    from keyturn.client import ApiKey

F = TypeVar("F", bound=Callable[..., Any])


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
    return click.option(
        "--expires",
        type=LifetimeType(),
        metavar="90d|DATE|never",
        help=f"When the key ends. [default: {default}]",
    )


def restriction_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that restrict a key; the command gets one value, `restrictions`."""

    @wraps(command)
    def with_restrictions(*args: Any, **given: Any) -> Any:
        chosen: dict[str, Any] = {}
        for kind in KINDS:
            value = given.pop(kind.name, None)
            chosen[kind.wire] = [*map(str, value)] if isinstance(value, tuple) and value else value or None
        try:
            restrictions = read_restrictions(chosen)
        except InvalidInput as error:
            raise click.UsageError(str(error)) from None
        return command(*args, restrictions=restrictions, **given)

    decorated: Callable[..., Any] = with_restrictions
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


_OPTIONS = (
    click.option(
        "--allow-from",
        "networks",
        type=NetworkType(),
        multiple=True,
        help="A network that the key may be used from, like 192.0.2.0/24. Can be repeated.",
    ),
    click.option(
        "--dpop-jkt",
        "jkt",
        type=ThumbprintType(),
        help="The thumbprint of a key pair, without whose proofs the key opens nothing (RFC 9449).",
    ),
    click.option(
        "--allow-method",
        "methods",
        multiple=True,
        metavar="METHOD",
        help="A method that the key may be used for, like GET. Can be repeated.",
    ),
    click.option(
        "--allow-path",
        "paths",
        multiple=True,
        metavar="PATH",
        help="A path, with all below it, that the key may be used for. Can be repeated.",
    ),
)


def as_arguments(restrictions: Restrictions) -> dict[str, Any]:
    """Return the arguments of `ApiClient.create_key` that restrict a key."""
    return {_HUMP.sub(r"_\g<0>", name).lower(): value for name, value in restrictions.to_wire().items()}


def restrictions_of(key: "ApiKey") -> Restrictions:
    """Return the restrictions of a key as the server lists it."""
    return restore_restrictions(
        {kind.wire: getattr(key, _HUMP.sub(r"_\g<0>", kind.wire).lower()) for kind in KINDS}
    )


def restriction_text(project_id: int | None, restrictions: Restrictions) -> str:
    """Return what a list says a key is restricted to; empty for one that is all that its owner is."""
    told = [] if project_id is None else [f"project {project_id}"]
    for fact in restrictions.describe():
        told += [f"{fact.label.lower()} {fact.listed}"] if fact.is_code else fact.words
    return ", ".join(told)


_HUMP = re.compile("[A-Z]")
