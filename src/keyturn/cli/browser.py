"""Pages of a server in the browser of the person."""

import os
import webbrowser
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

PROFILE_PAGE, KEYS_PAGE, TOKEN_PAGE = "/profile", "/profile/keys", "/profile/token"
USERS_PAGE, APIS_PAGE = "/admin/users", "/admin/services"


def web_option(command: F) -> F:
    """Add `--web`."""
    return click.option("--web", is_flag=True, help="Open the page in the browser instead.")(command)


def show_page(url: str) -> None:
    """Open a page; print its address where there is no browser. The address holds no secret."""
    if open_in_browser(url):
        click.echo(f"Opened {url} in your browser.", err=True)
    else:
        click.echo(url)


def open_in_browser(url: str) -> bool:
    """Open a page; return whether a browser took it."""
    return _has_browser() and webbrowser.open(url)


def _has_browser() -> bool:
    """Return whether there is a browser with a window: one in this terminal would take it over."""
    if os.environ.get("BROWSER"):  # The person says which.
        return True
    try:
        found = webbrowser.get()
    except webbrowser.Error:
        return False
    return type(found) is not webbrowser.GenericBrowser
