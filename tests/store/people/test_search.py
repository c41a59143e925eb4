"""Searching among users: each filter finds exactly those it says, the same on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from keyturn.core.people import ServiceOwner, StateRule, UserKind
from keyturn.core.permissions import Permission
from keyturn.core.searches import GroupSearch, NamedOrder, ProjectSearch, UserOrder, UserSearch
from keyturn.store import Store
from keyturn.store.database.schema import user as account
from keyturn.store.people.groups import GroupFields
from tests.store.rows import NOW, a_key, a_user, an_entry, giving, grant_all

PEOPLE: dict[str, tuple[str | None, str | None]] = {
    "Zoë": ("Zoë Müller", "zoe@example.com"),
    "ДМИТРИЙ": ("Дмитрий Иванов", "dmitri@example.org"),
    "a_b%c": ("100%_sure\\", "odd@example.com"),
    "aXbYc": ("Ordinary", None),
    "disabled": (None, "gone@example.com"),
    "ΣΊΣΥΦΟΣ": ("Σίσυφος", None),
}
"""By user name, the name and the e-mail address."""


@pytest.fixture
def ids(store: Store) -> dict[str, int]:
    """Everybody by user name: the people above, and two service accounts."""
    made = {
        userid: store.users.add(a_user(userid, name=name, email=email), an_entry()).user_id
        for userid, (name, email) in PEOPLE.items()
    }
    group = store.groups.add("bim", GroupFields("one", None, None), NOW, an_entry()).group_id
    for userid in ("Zoë", "aXbYc"):
        store.groups.add_member(group, made[userid], NOW, an_entry(), allow=grant_all)
    made["group"] = group
    for userid, permission in (("Zoë", Permission.FETCH_POLICY_INFO), ("aXbYc", Permission.CREATE_FILTER)):
        store.users.change_permissions(
            made[userid], lambda held, more=permission: held | {more.value}, NOW, an_entry()
        )
    for userid, owner in (
        ("robot of zoë", ServiceOwner(made["Zoë"])),
        ("robot of one", ServiceOwner(group_id=group)),
    ):
        made[userid] = store.users.add(a_user(userid, kind=UserKind.SERVICE, owner=owner), an_entry()).user_id
    store.users.set_disabled(made["disabled"], NOW, NOW, an_entry())
    return made


EVERYBODY = [*PEOPLE, "robot of zoë", "robot of one"]
ROBOTS = ["robot of zoë", "robot of one"]

TABLE: list[tuple[dict[str, Any], list[str]]] = [
    ({}, EVERYBODY),
    # Parts of texts, in any case, also of letters outside of ASCII.
    ({"userid": "zoë"}, ["Zoë", "robot of zoë"]),
    ({"userid": "ZOË"}, ["Zoë", "robot of zoë"]),
    ({"userid": "дмит"}, ["ДМИТРИЙ"]),
    ({"name": "МИТР"}, ["ДМИТРИЙ"]),
    ({"name": "MÜLLER"}, ["Zoë"]),
    ({"name": "müll"}, ["Zoë"]),
    ({"name": "muller"}, []),
    ({"name": "σίσυφ"}, ["ΣΊΣΥΦΟΣ"]),
    ({"userid": "σίσυφ"}, ["ΣΊΣΥΦΟΣ"]),
    ({"email": "EXAMPLE.COM"}, ["Zoë", "a_b%c", "disabled"]),
    ({"email": "zoe@example.com"}, ["Zoë"]),
    ({"text": "zo"}, ["Zoë", "robot of zoë"]),
    ({"text": "gone"}, ["disabled"]),
    ({"text": "ordinary"}, ["aXbYc"]),
    # What is called so as a whole, with neither case nor accents.
    ({"called": "zoe MULLER"}, ["Zoë"]),
    ({"called": "ZOE"}, ["Zoë"]),
    ({"called": "Zoe@Example.com"}, ["Zoë"]),
    ({"called": "muller"}, []),
    ({"called": "100%_SURE\\"}, ["a_b%c"]),
    # Providers and permissions, each as a whole.
    ({"providers": frozenset({"bim"})}, EVERYBODY),
    ({"providers": frozenset({"okta", "bim"})}, EVERYBODY),
    ({"providers": frozenset({"BIM", "bi"})}, []),
    ({"providers": frozenset()}, []),
    ({"not_providers": frozenset({"okta"})}, EVERYBODY),
    ({"not_providers": frozenset({"bim"})}, []),
    ({"holding": frozenset({Permission.CREATE_FILTER})}, ["aXbYc"]),
    ({"holding": frozenset({Permission.FETCH_POLICY_INFO, Permission.CREATE_FILTER})}, ["Zoë", "aXbYc"]),
    ({"holding": frozenset({Permission.IMPERSONATE_USER})}, []),
    ({"holding": frozenset()}, []),
    ({"not_holding": frozenset({Permission.CREATE_FILTER})}, [one for one in EVERYBODY if one != "aXbYc"]),
    # What a pattern would take for more than itself.
    ({"userid": "%"}, ["a_b%c"]),
    ({"userid": "a_b"}, ["a_b%c"]),
    ({"userid": "_"}, ["a_b%c"]),
    ({"name": "%_"}, ["a_b%c"]),
    ({"name": "\\"}, ["a_b%c"]),
    ({"name": "/"}, []),
    ({"name": "%%"}, []),
    ({"userid": "*"}, []),
    ({"name": "' OR 1=1 --"}, []),
    ({"name": ""}, ["Zoë", "ДМИТРИЙ", "a_b%c", "aXbYc", "ΣΊΣΥΦΟΣ"]),
    # Kinds and states.
    ({"is_disabled": True}, ["disabled"]),
    ({"is_disabled": False}, [userid for userid in EVERYBODY if userid != "disabled"]),
    ({"kinds": frozenset({UserKind.PERSON})}, list(PEOPLE)),
    ({"kinds": frozenset({UserKind.SERVICE})}, ROBOTS),
    ({"kinds": frozenset({UserKind.SYSTEM})}, []),
    ({"kinds": frozenset()}, []),
    ({"owners": frozenset()}, []),
    ({"ids": frozenset()}, []),
    # Several at once.
    ({"name": "ord", "email": "com"}, []),
    ({"text": "a", "is_disabled": True}, ["disabled"]),
    ({"userid": "o", "kinds": frozenset({UserKind.SERVICE})}, ROBOTS),
]


def found(store: Store, **wanted: Any) -> list[str]:
    page = store.users.search(UserSearch(**wanted), size=100)
    assert page.count == len(page.items)
    return [user.userid for user in page.items]


@pytest.mark.usefixtures("ids")
def test_each_filter_finds_exactly_its_users(store: Store) -> None:
    """What is searched for is found as a part of it, in any case, and stands for itself alone."""
    wrong = {str(wanted): got for wanted, expected in TABLE if (got := found(store, **wanted)) != expected}
    assert wrong == {}


def test_filters_by_id_find_exactly_theirs(store: Store, ids: dict[str, int]) -> None:
    """Those of an owner, in a group, or with some ids, are found, and an id that is nobody's finds nobody."""
    zoe, group = ids["Zoë"], ids["group"]
    both = frozenset({ServiceOwner(zoe), ServiceOwner(group_id=group)})
    assert found(store, owners=frozenset({ServiceOwner(zoe)})) == ["robot of zoë"]
    assert found(store, owners=frozenset({ServiceOwner(group_id=group)})) == ["robot of one"]
    assert found(store, owners=both) == ROBOTS
    assert found(store, owners=frozenset({ServiceOwner(10**6)})) == []
    assert found(store, in_group=group) == ["Zoë", "aXbYc"]
    assert found(store, in_group=10**6) == []
    assert found(store, ids=frozenset({ids["aXbYc"], zoe, 10**6})) == ["Zoë", "aXbYc"]
    assert found(store, ids=frozenset({zoe}), userid="a") == []


def test_a_new_name_is_found_and_the_former_is_not(store: Store, ids: dict[str, int]) -> None:
    """People are found and ordered by what is said of them now; the user name stays with them."""
    store.users.update_profile(ids["aXbYc"], {"name": "Ángel", "email": "á@example.com"}, NOW, an_entry())
    assert found(store, text="ordinary") == []
    assert found(store, text="angel") == found(store, text="axby") == found(store, text="a@exa") == ["aXbYc"]
    assert found(store, order=UserOrder.NAME)[1] == "aXbYc"
    store.users.update_profile(ids["aXbYc"], {"name": None}, NOW, an_entry())
    assert found(store, text="angel") == []
    assert found(store, text="axby") == ["aXbYc"]


@pytest.mark.usefixtures("ids")
def test_pages_are_all_of_them_once(store: Store) -> None:
    """Pages of any size together are everybody once, in the order they were made, and tell how many."""
    for size in (1, 3, 7, 8, 9):
        seen: list[str] = []
        while page := store.users.search(UserSearch(), offset=len(seen), size=size).items:
            assert len(page) <= size
            seen += [user.userid for user in page]
        assert seen == EVERYBODY
    beyond = store.users.search(UserSearch(), offset=1000, size=5)
    assert (beyond.count, beyond.items) == (len(EVERYBODY), ())


ORDERS: dict[UserOrder, list[str]] = {
    UserOrder.NUMBER: EVERYBODY,
    UserOrder.NAME: [
        "a_b%c",
        "disabled",
        "aXbYc",
        "robot of one",
        "robot of zoë",
        "Zoë",
        "ΣΊΣΥΦΟΣ",
        "ДМИТРИЙ",
    ],
    UserOrder.USERID: [
        "a_b%c",
        "aXbYc",
        "disabled",
        "robot of one",
        "robot of zoë",
        "Zoë",
        "ΣΊΣΥΦΟΣ",
        "ДМИТРИЙ",
    ],
    UserOrder.PROVIDER: EVERYBODY,
    UserOrder.EMAIL: [
        "ДМИТРИЙ",
        "disabled",
        "a_b%c",
        "Zoë",
        *(one for one in EVERYBODY if one not in {"ДМИТРИЙ", "disabled", "a_b%c", "Zoë"}),
    ],
    UserOrder.STATE: [
        "disabled",
        "ДМИТРИЙ",
        *(one for one in EVERYBODY if one not in {"disabled", "ДМИТРИЙ"}),
    ],
    UserOrder.KEYS: [*(one for one in EVERYBODY if one not in {"Zoë", "aXbYc"}), "aXbYc", "Zoë"],
    UserOrder.USED: ["aXbYc", "Zoë", *(one for one in EVERYBODY if one not in {"Zoë", "aXbYc"})],
}
"""By each order, from the smallest value up; equals by their numbers."""


def set_up_orders(store: Store, ids: dict[str, int]) -> None:
    """Give some users what others lack: living keys, a last sign-in, a password that locks them."""
    for userid, keys in (("Zoë", 2), ("aXbYc", 1)):
        for _ in range(keys):
            store.api_keys.add(a_key(ids[userid]), an_entry())
    store.api_keys.add(a_key(ids["disabled"], expires_at=NOW), an_entry())  # It is over.
    with store.api_keys._database.writing() as connection:
        for userid, column in (
            ("Zoë", "last_login_at"),
            ("aXbYc", "last_login_at"),
            ("ДМИТРИЙ", "locked_until"),
        ):
            at = NOW + timedelta(days=1 if userid == "ДМИТРИЙ" else len(userid) == 3)
            connection.execute(update(account).where(account.c.id == ids[userid]).values({column: at}))


@pytest.mark.parametrize("order", UserOrder)
def test_each_order_is_the_same_on_every_database(
    store: Store, ids: dict[str, int], order: UserOrder
) -> None:
    """What lacks a value comes last both ways, and pages of one are everybody once, in that order."""
    set_up_orders(store, ids)
    rule = StateRule(NOW, frozenset({"bim"}))
    assert found(store, order=order, rule=rule) == ORDERS[order]
    backwards = found(store, order=order, rule=rule, is_descending=True)
    if order in {UserOrder.NUMBER, UserOrder.NAME, UserOrder.USERID}:
        assert backwards == ORDERS[order][::-1]
    first = {
        UserOrder.KEYS: ["Zoë", "aXbYc"],
        UserOrder.USED: ["Zoë", "aXbYc"],
        UserOrder.STATE: ["Zoë"],
        UserOrder.EMAIL: ["Zoë", "a_b%c", "disabled", "ДМИТРИЙ"],
    }
    assert backwards[: len(first.get(order, []))] == first.get(order, [])
    assert set(backwards) == set(EVERYBODY)
    wanted = UserSearch(order=order, rule=rule)
    pages = [store.users.search(wanted, offset=at, size=1).items[0].userid for at in range(len(EVERYBODY))]
    assert pages == ORDERS[order]


def test_groups_and_projects_are_found_and_ordered(store: Store, ids: dict[str, int]) -> None:
    """By a part of the name or the note without accents, and by their names or how many are in them."""
    for name, about in (("Élan", None), ("zebra", "À la carte"), ("alpha", None)):
        store.groups.add("bim", GroupFields(name, None, about), NOW, an_entry())
        store.projects.add(name, about, ids["Zoë"], NOW, an_entry(), seen_by=None, at_most=100)
    project = store.projects.search(ProjectSearch("ELAN"), size=5)[0]
    store.projects.set_member(project.project_id, ids["aXbYc"], NOW, an_entry(), is_owner=False)

    def groups(*search: Any, **order: Any) -> list[str]:
        return [one.name for one in store.groups.search(GroupSearch(*search, **order), size=100)]

    def projects(*search: Any, **order: Any) -> list[str]:
        return [one.name for one in store.projects.search(ProjectSearch(*search, **order), size=100)]

    by_name = ["alpha", "Élan", "zebra"]
    assert projects(order=NamedOrder.NAME) == by_name
    assert projects(order=NamedOrder.NAME, is_descending=True) == by_name[::-1]
    assert projects(order=NamedOrder.MEMBERS, is_descending=True) == ["Élan", "zebra", "alpha"]
    assert projects("a la c") == groups("A LA C") == ["zebra"]
    assert groups(order=NamedOrder.NAME) == ["alpha", "Élan", "one", "zebra"]
    assert groups(order=NamedOrder.MEMBERS, is_descending=True)[0] == "one"
    assert groups("%") == projects("_") == []
    page = store.groups.search(GroupSearch(order=NamedOrder.NAME), offset=1, size=2)
    assert (page.count, [one.name for one in page]) == (4, ["Élan", "one"])
    assert (project.member_count, project.members) == (1, ())


def test_what_is_found_is_whole(store: Store, ids: dict[str, int]) -> None:
    """A user in a page is the same, attributes and owner included, as when asked for alone."""
    for userid, name, value in (("Zoë", "team", "a"), ("Zoë", "team", "b"), ("ДМИТРИЙ", "city", "Ö")):
        store.users.change_attributes(ids[userid], giving(name, value), NOW, an_entry())
    store.groups.change_attributes(ids["group"], giving("team", "z"), NOW, an_entry())
    for user in store.users.search(UserSearch(), size=100).items:
        assert user == store.users.find_by_id(user.user_id)
    zoe = store.users.find_by_id(ids["Zoë"])
    assert zoe is not None
    assert (zoe.attributes, zoe.group_attributes) == ({"team": ("a", "b")}, {"team": ("z",)})


def test_an_administrator_is_known_by_the_whole_permission(store: Store) -> None:
    """Who holds another permission whose name is longer is no administrator: the last one stays (A5)."""
    admin = store.users.add(a_user("admin", permissions=frozenset({"USER_ADMIN"})), an_entry()).user_id
    store.users.add(a_user("near", permissions=frozenset({"SUPER_USER_ADMIN", "USER-ADMIN"})), an_entry())
    store.users.add(a_user("odd", permissions=frozenset({"USERXADMIN", "USER_ADMIN2"})), an_entry())
    with pytest.raises(Exception, match=Permission.USER_ADMIN):
        store.users.delete(admin, NOW, an_entry())
