"""What the tests of the HTTP side share: a server for each file, its people, and a raw socket."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.databases import new_postgresql_database, new_sqlite_database
from tests.fakes import Clock
from tests.servers import running_server
from tests.sizes import FULL
from tests.web.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    SiteOpener = Callable[..., AbstractContextManager[Site]]


ALL: frozenset[str] = frozenset()
ON_BOTH_DATABASES: dict[str, frozenset[str]] = {
    "api.test_connections": ALL,
    "api.test_contract_2023": ALL,
    "api.test_devices": ALL,
    "api.test_oauth": frozenset(
        {
            "test_a_key_or_token_is_exchanged",
            "test_whatever_is_not_good_is_inactive",
            "test_a_key_is_ended_with_its_tokens",
            "test_nobody_ends_what_is_another_s",
            "test_fault_b13_only_verifiers_are_told_of_others",
        }
    ),
    "api.test_people_access": frozenset(
        {
            "test_a_project_tells_nothing_of_hidden_connections",
            "test_lists_show_what_is_ones_own",
            "test_an_owner_manages_their_service_account_and_no_other",
        }
    ),
    "api.test_people_api": frozenset(
        {
            "test_a_route_answers_in_the_documented_shape",
            "test_what_cannot_be_made_is_refused_by_field",
        }
    ),
    "api.test_people_limits": ALL,
    "api.test_people_search": frozenset(
        {
            "test_users_come_in_pages",
            "test_each_filter_finds_a_part_of_its_field",
            "test_no_character_of_a_filter_is_a_wildcard",
        }
    ),
    "api.test_wire_contract": frozenset(
        {
            "test_the_exchange_takes_every_documented_form",
            "test_a_password_is_answered_with_a_token",
            "test_strange_characters_in_a_login_are_a_wrong_login",
            "test_a_retry_gives_the_same_key",
            "test_a_retry_never_answers_a_dead_key",
            "test_a_key_made_with_a_key_ends_with_it",
            "test_the_list_shows_metadata_and_never_a_secret",
            "test_a_deleted_key_and_its_tokens_are_dead_at_once",
            "test_a_foreign_an_absent_and_a_dead_key_are_deleted_alike",
            "test_a_key_and_a_token_are_dead_at_exactly_their_end",
            "test_a_disabled_users_credentials_are_dead_at_once",
            "test_the_whole_way_from_key_to_nothing",
        }
    ),
    "pages.test_admin_pages": ALL,
    "pages.test_concurrent_edits": ALL,
    "pages.test_connections": frozenset(
        {
            "test_a_role_on_one_connection_shows_that_one_alone",
            "test_a_connection_is_switched_off_on_and_deleted",
            "test_owners_are_picked_and_removed",
            "test_of_several_who_add_owners_at_once_nobody_is_lost",
            "test_a_crawl_is_followed_and_its_tree_is_browsed",
            "test_a_long_list_of_objects_comes_in_pages",
            "test_the_list_is_searched_and_ordered",
        }
    ),
    "pages.test_pages": ALL,
    "pages.test_pickers": ALL,
    "test_audiences": frozenset(
        {
            "test_a_token_opens_the_api_that_it_is_for",
            "test_a_key_covers_what_its_owner_may_hold_there",
            "test_scopes_beyond_the_api_are_refused",
        }
    ),
    "test_dpop": frozenset(
        {
            "test_of_many_replays_at_once_one_passes",
            "test_a_bound_key_is_exchanged_with_its_key_pair_alone",
            "test_what_is_bound_makes_only_what_is_bound_alike",
            "test_a_revoked_bound_key_is_dead",
        }
    ),
    "test_key_restrictions": ALL,
    "test_key_rotation": ALL,
}
"""The tests of a site that run over PostgreSQL too, by module; `ALL` for every one of a module.

Tests of store and services hold both databases to one behavior. These are every route once, what depends on
how a database compares and orders texts, on rows that several change at once, and the ends of credentials.
`make faults` runs all others over PostgreSQL as well.
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the databases of a test that takes `any_site`."""
    if "any_site" not in metafunc.fixturenames:
        return
    module, name = metafunc.module.__name__.removeprefix("tests.web."), metafunc.function.__name__
    chosen = ON_BOTH_DATABASES.get(module)
    databases: list[object] = ["sqlite"]
    if chosen is not None and (chosen is ALL or name in chosen):
        databases.append("postgresql")
    elif FULL:
        databases.append(pytest.param("postgresql", marks=pytest.mark.sized))
    metafunc.parametrize("any_site", databases, indirect=True, scope="module")


@pytest.fixture(scope="module")
def open_site(tmp_path_factory: pytest.TempPathFactory) -> SiteOpener:
    """Serve a fresh SQLite database until the block ends; takes settings."""

    @contextmanager
    def opened(database: str | None = None, **settings: object) -> Iterator[Site]:
        clock = Clock()
        # Most tests here present wrong credentials by the hundred; those of the budget choose their own.
        settings.setdefault("failures_per_minute", 1_000_000)
        database = database or new_sqlite_database(tmp_path_factory.mktemp("site"))
        with running_server(database, clock.system(), **settings) as server:
            yield Site(server, clock, database)

    return opened


@pytest.fixture(scope="module")
def site(open_site: SiteOpener) -> Iterator[Site]:
    """A server for the tests of one file, over SQLite."""
    with open_site() as opened:
        opened.add_people()
        yield opened


@pytest.fixture(scope="module")
def site_settings() -> dict[str, object]:
    """Settings of the servers of `any_site`, for a module that needs others."""
    return {}


@pytest.fixture(scope="module")
def any_site(
    request: pytest.FixtureRequest,
    open_site: SiteOpener,
    site_settings: dict[str, object],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """A server for the tests of one file, over SQLite, and for those of the table over PostgreSQL too."""
    if request.param == "sqlite":
        with open_site(**site_settings) as opened:
            opened.add_people()
            yield opened
        return
    root_key = tmp_path_factory.mktemp("root") / "root.key"
    root_key.write_text("A" * 43)
    root_key.chmod(0o600)
    database = new_postgresql_database(request.getfixturevalue("postgresql_server"))
    with open_site(database, root_key_file=root_key, **site_settings) as opened:
        opened.add_people()
        yield opened
