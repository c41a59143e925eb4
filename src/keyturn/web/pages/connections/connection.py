"""The page of one connection: its state, what was done with it, and the forms that change its state."""

from collections.abc import Mapping
from typing import Any

from litestar import Response
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from keyturn.adapters.technologies import Tier
from keyturn.core.connections import ConnectionRecord, ConnectionState, JobSearch
from keyturn.core.permissions import Permission
from keyturn.errors import InvalidState, NotFound
from keyturn.services.connections.registry import ChangedConnection
from keyturn.web.pages.audit.activity import activity_of_connection
from keyturn.web.pages.connections.crawls import shown_job
from keyturn.web.pages.connections.fields import (
    TIERS,
    check_hours,
    facts,
    is_crawled,
    place_of,
    technology_of,
)
from keyturn.web.pages.connections.places import address_of, managed, seen, seen_place
from keyturn.web.pages.connections.roles import settings_shown
from keyturn.web.pages.frame.confirmation import DELETION_WORD, check_typed
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.notices import said
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import CONNECTIONS
from keyturn.web.pages.frame.views import InjectedForm, InjectedView, View

LATE_JOBS = 5
WAITED_SECONDS = 5
"""For a deletion, which is done in another thread: most are over by then."""

SENTENCES: Mapping[str, str] = {
    "created": "Added the connection <b>{}</b>.",
    "saved": "Saved the connection <b>{}</b>.",
    "activated": "Activated <b>{}</b>. Crawls and tests reach it again.",
    "deactivated": "Deactivated <b>{}</b>. Keyturn no longer reaches its database.",
    "rotated": "Rotated the password of <b>{}</b>. Nobody has seen the new one.",
    "crawling": "Started to crawl <b>{}</b>.",
    "canceled": "Canceled the work on <b>{}</b>.",
    "settings": "Saved the settings of <b>{}</b>.",
    "schedule": "Saved the schedule of <b>{}</b>.",
}
"""The part of the connection that a notice tells."""


@page("/{connection_key:str}", CONNECTIONS)
def connection_page(
    connection_key: FromPath[str], view: InjectedView, notice: FromQuery[str | None] = None
) -> Response[str]:
    """Show a connection."""
    return show_connection(view, connection_key, notice)


def show_connection(view: View, connection_key: str, notice: str | None = None) -> Response[str]:
    """Return the page of a connection."""
    record = seen(view, connection_key)
    told = said(SENTENCES[notice], connection_key) if notice and notice in SENTENCES else None
    technology = technology_of(record)
    jobs = view.services.jobs.search(view.principal, JobSearch(connection_key=connection_key), size=LATE_JOBS)
    place = seen_place(view, connection_key, ())
    access = view.services.connection_access
    return view.render(
        "connections/connection.html",
        connection=record,
        place=place_of(record),
        facts=list(facts(record)),
        tier="" if technology is None or technology.tier is Tier.RUN else TIERS[technology.tier][1],
        may=_may(view, record),
        path=address_of(connection_key),
        jobs=[shown_job(one) for one in jobs],
        at_work=next((shown_job(one) for one in jobs if not one.is_finished), None),
        activity=activity_of_connection(view, connection_key),
        manages=access.manages(view.principal, record),
        callers=view.services.key_uses.of_connection(view.principal, connection_key),
        links_keys=view.principal.may(Permission.USER_ADMIN),
        **settings_shown(view, place),
        notice=view.notice or told,
    )


def _may(view: View, record: ConnectionRecord) -> dict[str, bool]:
    """Return which of the forms are there for the visitor, in the state that the connection is in."""
    access, principal = view.services.connection_access, view.principal
    technology = technology_of(record)
    manages, is_on = access.manages(principal, record), record.state is not ConnectionState.INACTIVE
    is_reached = is_crawled(record)
    return {
        "test": manages and is_reached,
        "crawl": access.owns(principal, record, ()) and is_reached,
        "rotate": manages and is_on and technology is not None and _rotates(record),
        "edit": manages and is_on and technology is not None,
        "schedule": manages and is_reached,
        "deactivate": manages and is_on,
        "activate": manages and not is_on,
        "delete": manages and record.state is not ConnectionState.ACTIVE,
    }


def _rotates(record: ConnectionRecord) -> bool:
    technology = technology_of(record)
    by_password = record.details.get("authenticationType", "userPassword") == "userPassword"
    return technology is not None and technology.rotates and by_password and record.has_secrets


@form("/{connection_key:str}/activate", CONNECTIONS, asks=NEVER_ASKS, again=connection_page)
def activate(connection_key: FromPath[str], sent: InjectedForm) -> Redirect:
    """Switch a connection on."""
    return _switched(sent, connection_key, is_active=True)


@form("/{connection_key:str}/deactivate", CONNECTIONS, asks=NEVER_ASKS, again=connection_page)
def deactivate(connection_key: FromPath[str], sent: InjectedForm) -> Redirect:
    """Switch a connection off."""
    return _switched(sent, connection_key, is_active=False)


def _switched(sent: Any, connection_key: str, *, is_active: bool) -> Redirect:
    managed(sent, connection_key)
    sent.services.connections.set_active(sent.principal, connection_key, sent.origin, is_active=is_active)
    return see_other(address_of(connection_key, f"?notice={'activated' if is_active else 'deactivated'}"))


@form("/{connection_key:str}/schedule", CONNECTIONS, asks=NEVER_ASKS, again=connection_page)
def schedule(connection_key: FromPath[str], sent: InjectedForm) -> Redirect:
    """Say how often a connection is crawled by itself."""
    managed(sent, connection_key)
    changed = sent.changed("crawlEveryHours")
    if changed:
        hours = check_hours(changed["crawlEveryHours"])
        wanted = ChangedConnection(crawl_every_hours=hours, changes_schedule=True)
        sent.services.connections.update(sent.principal, connection_key, wanted, sent.origin)
    return see_other(address_of(connection_key, "?notice=schedule"))


@page("/{connection_key:str}/rotate", CONNECTIONS)
def rotate_page(connection_key: FromPath[str], view: InjectedView) -> Response[str]:
    """Say what a rotation does."""
    record = managed(view, connection_key)
    if not _may(view, record)["rotate"]:
        raise NotFound
    return view.render("connections/rotate.html", connection=record, path=address_of(connection_key))


@form("/{connection_key:str}/rotate", CONNECTIONS, again=rotate_page)
def rotate(connection_key: FromPath[str], sent: InjectedForm) -> Redirect:
    """Change the password of the account to one that nobody has seen."""
    managed(sent, connection_key)
    done = sent.services.jobs.rotate(sent.principal, connection_key, sent.origin)
    if not done.is_changed:
        raise InvalidState(f"The password stays as it was. {done.reason or ''}".strip())
    return see_other(address_of(connection_key, "?notice=rotated"))


@page("/{connection_key:str}/delete", CONNECTIONS)
def delete_page(connection_key: FromPath[str], view: InjectedView) -> Response[str]:
    """Say what ends with a connection."""
    record = managed(view, connection_key)
    if not _may(view, record)["delete"]:
        raise NotFound
    behind = view.services.data_objects.children(view.principal, (connection_key,), size=1)
    return view.render(
        "connections/delete.html",
        connection=record,
        has_objects=behind.count > 0,
        path=address_of(connection_key),
        word=DELETION_WORD,
    )


@form("/{connection_key:str}/delete", CONNECTIONS, asks=NEVER_ASKS, again=delete_page)
def delete(connection_key: FromPath[str], sent: InjectedForm) -> Redirect:
    """Delete a connection, if the word was typed: one that is switched off, or unhealthy."""
    managed(sent, connection_key)
    check_typed(sent)
    jobs = sent.services.jobs
    job = jobs.delete(sent.principal, connection_key, sent.origin, is_forced=True)
    left = jobs.wait(sent.principal, frozenset({job.job_id}), WAITED_SECONDS, 0.1)
    is_over = all(one.is_finished for one in left)
    return see_other(f"{CONNECTIONS.path}?notice={'deleted' if is_over else 'deleting'}")
