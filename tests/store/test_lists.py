"""No question to the store answers more rows than the one who asks allows for."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from keyturn.core.pages import every
from tests.people import HERE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keyturn.composition import Services
    from keyturn.core.principal import Principal
    from keyturn.store import Store

MANY = ("list[", "Sequence[", "tuple[", "dict[", "Mapping[", "frozenset[", "Page[")
"""What the return type of a method begins with that answers many rows."""
SIZES = {"size", "limit"}
NAMED = {"names", "key_ids", "group_ids", "project_ids", "thing_ids"}
"""Parameters that name the rows to answer, one by one."""

PAGE_OF_FEED = "a page of the feed has a size of its own: `store.feed.PAGE`"
ONE_FOR_EACH = "one row for each of the users that are named"
NAMED_IN_FEED = "at most `NAMED_AT_ONCE` are named, and padded to that"
WHOLE = {
    "store.integrity_problems": "what a database says of its own damage; for the command line",
    "store.sizes": "two numbers",
    "api_keys.count_uses": "a number for each key of one user; for the command line, which lists them all",
    "api_keys.callers": "no more than `MAX_CALLERS` of a key are kept",
    "api_keys.count_living": ONE_FOR_EACH,
    "logins.find_invitation_ends": ONE_FOR_EACH,
    "audit_log.name_users": ONE_FOR_EACH,
    "apis.groups_of": "decides which scopes somebody may hold: no part of it may be left out",
    "service_accounts.permissions_with": "decides what may be given: no more than there are permissions",
    "data_objects.columns": "those of one table, of which a crawl takes no more than `Limits.columns`",
    "data_objects.known": "decides what a crawl found anew; no more than it may find",
    "object_settings.find": "what is said at the paths that are named",
    "signing_keys.list_verifying": "verifies tokens: one for each rotation within the life of a token",
    "feed.users_after": PAGE_OF_FEED,
    "feed.users": NAMED_IN_FEED,
    "feed.memberships_between": "of the users of one page of the feed, whole: they decide over scopes",
    "feed.memberships_of": "of the users that are named, whole: they decide over scopes",
    "feed.keys_after": PAGE_OF_FEED,
    "feed.keys_of": PAGE_OF_FEED,
    "feed.some_keys_of": PAGE_OF_FEED,
    "feed.sessions_after": PAGE_OF_FEED,
    "feed.sessions": NAMED_IN_FEED,
    "feed.sessions_of": PAGE_OF_FEED,
    "feed.some_sessions_of": PAGE_OF_FEED,
    "feed.revoked_tokens_after": PAGE_OF_FEED,
    "feed.revoked_tokens": NAMED_IN_FEED,
}
"""The questions without a size, and why none of them can grow without end or may be cut."""


def questions(store: Store) -> Iterator[tuple[str, Callable[..., object]]]:
    """Every public method of the store and of its parts that answers many rows."""
    parts = {"store": store, **{name: part for name, part in vars(store).items() if not name.startswith("_")}}
    for name, part in parts.items():
        if not type(part).__module__.startswith("keyturn.store") or "database" in type(part).__module__:
            continue
        for method_name, method in inspect.getmembers(part, inspect.ismethod):
            if not method_name.startswith("_") and str(
                inspect.signature(method, eval_str=False).return_annotation
            ).removeprefix("keyturn.core.pages.").startswith(MANY):
                yield f"{name}.{method_name}", method


def test_every_list_of_the_store_has_a_bound(store: Store) -> None:
    """Each takes a size, or the names of what is asked for, or stands here with the reason why not."""
    found = dict(questions(store))
    unbounded = {
        name
        for name, method in found.items()
        if not (SIZES | NAMED) & set(inspect.signature(method).parameters)
    }
    assert unbounded == WHOLE.keys()
    assert {"groups.list_members", "projects.list_connections", "apis.search"} <= found.keys()


def test_a_list_is_read_whole_a_page_at_a_time(services: Services, admin: Principal) -> None:
    """Pages do not overlap and miss nothing; each tells how many there are in all."""
    for number in range(5):
        services.groups.add(admin, HERE, name=f"group {number}")
    pages = [services.groups.list_visible(admin, offset=offset, size=2) for offset in (0, 2, 4, 6)]
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert {page.count for page in pages} == {5}
    names = [group.name for page in pages for group in page]
    assert names == [f"group {number}" for number in range(5)]
    whole = every(lambda offset, _size: services.groups.list_visible(admin, offset=offset, size=2))
    assert [group.name for group in whole] == names
