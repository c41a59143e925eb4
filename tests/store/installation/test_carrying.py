"""The tables of what ends: every column of every table has its rule, or a reason for none."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.core.restriction_kinds import KINDS
from keyturn.store.database.schema import metadata
from keyturn.store.installation.carrying import (
    ENDED,
    ENDED_BY_EPOCH,
    LEFT,
    LEFT_COLUMNS,
    RULES,
    WHOLE,
)


def test_every_table_has_its_place() -> None:
    """A table is compared, taken whole, ended by the epoch, or left for a reason; in one way alone."""
    places = [*RULES, *WHOLE, *ENDED_BY_EPOCH, *LEFT]

    assert sorted(places) == sorted(metadata.tables)


@pytest.mark.parametrize("name", RULES)
def test_every_column_has_its_rule(name: str) -> None:
    """A column names the row, is compared, or is left; in one way alone."""
    rule = RULES[name]
    places = [*rule.identity, *rule.columns, *LEFT_COLUMNS.get(name, ())]

    assert sorted(places) == sorted(column.key for column in metadata.tables[name].columns)


def test_logged_ends_name_their_columns() -> None:
    """What the log ends is in tables that have rules, by columns that they have."""
    for end in ENDED:
        assert end.table in RULES
        assert set(end.columns) <= {column.key for column in metadata.tables[end.table].columns}


SCOPES, NETWORKS = KINDS[0].name, KINDS[1].name


@pytest.mark.parametrize(
    ("table", "column", "restored", "present", "less"),
    [
        ("user_account", "permissions", ["A", "B"], ["B", "C"], ["B"]),
        ("user_account", "disabled_at", None, 2, 2),
        ("user_account", "disabled_at", 1, None, 1),
        ("user_account", "disabled_at", 1, 2, 1),
        ("user_account", "epoch", 1, 2, 2),
        ("user_account", "password_hash", "old", "new", "new"),
        ("user_account", "locked_until", None, 2, 2),
        ("api_key", "digest", b"old", b"new", b"new"),
        ("api_key", "expires_at", 5, 4, 4),
        ("api_key", "expires_at", None, 4, 4),
        ("api_key", "expires_at", 4, None, 4),
        ("api_key", SCOPES, None, ["read"], ["read"]),
        ("api_key", SCOPES, ["read"], None, ["read"]),
        ("api_key", SCOPES, ["read"], ["read", "write"], ["read"]),
        ("api_key", SCOPES, ["read", "write"], ["read"], ["read"]),
        ("api_key", NETWORKS, ["10.0.0.0/8"], ["10.1.0.0/16"], ["10.1.0.0/16"]),
        ("api_key", NETWORKS, ["10.1.0.0/16"], ["10.0.0.0/8"], ["10.1.0.0/16"]),
        ("former_secret", "ends_at", 5, 4, 4),
        ("project_member", "is_owner", True, False, False),
        ("project_member", "is_owner", False, True, False),
        ("service_account", "disabled_with_owner", False, True, True),
        ("connection", "state", "ACTIVE", "INACTIVE", "INACTIVE"),
        ("connection", "state", "INACTIVE", "ACTIVE", "INACTIVE"),
        ("resource_scope", "is_for_everyone", True, False, False),
        ("resource_scope", "resource_id", 1, 2, None),
        ("resource_scope", "resource_id", 1, 1, 1),
    ],
)
def test_the_one_that_allows_less_is_taken(
    table: str, column: str, restored: Any, present: Any, less: Any
) -> None:
    """Of a restored value and the present one, the one that allows less is taken, or what both allow."""
    assert RULES[table].columns[column](restored, present) == less
