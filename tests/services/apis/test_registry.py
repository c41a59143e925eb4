"""Registered APIs: who registers them, who may hold their scopes, and what is good where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keyturn.core.audit import AuditAction
from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import Permission
from keyturn.core.scopes import check_scopes
from keyturn.errors import (
    Conflict,
    CredentialRefused,
    InvalidInput,
    NotFound,
    PermissionMissing,
    Reason,
    ScopeMissing,
)
from keyturn.services.apis.fields import MAX_SCOPES, ScopeToRegister
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.apis import (
    NOTHING_THERE,
    UNREGISTERED,
    covered,
    identifier_of,
    leave,
    new_group,
    register,
    say_anew,
    scopes_of,
    token_for,
    why_no_token,
)
from tests.people import (
    HERE,
    actions,
    add_person,
    add_service_account,
    caller,
    chosen_key,
    holder,
    last_rows,
    new_key,
    person,
)
from tests.statements import statements

if TYPE_CHECKING:
    from keyturn.composition import Services
    from keyturn.core.principal import Principal
    from tests.conftest import Opener

GOOD: dict[str, Any] = {
    "name": "Orders",
    "identifier": "https://orders.example.com",
    "description": None,
    "scopes": [ScopeToRegister("orders:read")],
}
AUDIENCE, REVOKED, WITHHELD = Reason.AUDIENCE.value, Reason.REVOKED.value, Reason.WITHHELD.value


@pytest.fixture
def orders(services: Services) -> str:
    register(services, "orders")
    return "orders"


@pytest.fixture
def stock(services: Services) -> str:
    register(services, "stock")
    return "stock"


# What is good where


def test_a_token_is_good_for_one_api_alone(
    services: Services, bob: Principal, orders: str, stock: str
) -> None:
    """A token of one API is refused at another and at the installation, and one of that at each API."""
    key = new_key(services, bob).secret
    for _ in range(2):  # Of what the database was asked for, and of what is remembered.
        of_orders, own = token_for(services, key, orders), token_for(services, key, None)
        assert covered(services, of_orders, orders) == {"orders:read", "orders:write"}
        assert covered(services, own, None) is None
        for token, name in ((of_orders, stock), (of_orders, None), (own, orders), (own, stock)):
            assert covered(services, token, name) == AUDIENCE


def test_a_key_is_good_wherever_it_covers_something(
    services: Services, bob: Principal, orders: str, stock: str
) -> None:
    """A key covers of each API what it is narrowed to, or all of it, and is refused if that is nothing."""
    whole = new_key(services, bob).secret
    narrow = new_key(services, bob, scopes=["orders:read"]).secret
    for _ in range(2):
        assert covered(services, whole, orders) == {"orders:read", "orders:write"}
        assert covered(services, whole, stock) == {"stock:read", "stock:write"}
        assert covered(services, whole, None) is None
        assert covered(services, narrow, orders) == {"orders:read"}
        assert covered(services, narrow, stock) == NOTHING_THERE
        assert covered(services, narrow, None) == {"orders:read"}
        assert covered(services, whole, "unknown") == UNREGISTERED


def test_a_dead_key_is_told_so_where_it_covers_nothing_too(
    services: Services, bob: Principal, orders: str, stock: str
) -> None:
    """A revoked key is refused as revoked everywhere: that it is too narrow is said of living ones."""
    made = new_key(services, bob, scopes=["orders:read"])
    services.keys.revoke_own(bob, made.record.key_id, HERE)
    for name in (orders, stock, None):
        assert covered(services, made.secret, name) == REVOKED


def test_who_is_in_the_group_may_hold_it_from_the_next_request_on(
    services: Services, admin: Principal
) -> None:
    """Membership given and taken counts at the next request, for keys and tokens that were made before."""
    user = add_person(services)
    group = new_group(services, admin)
    register(services, "orders", held_by=[group])
    key = services.keys.create_for(user.user_id, COMMAND_LINE, NewKey()).secret
    token = token_for(services, key, "orders")
    for _ in range(2):
        for credential in (key, token):
            assert covered(services, credential, "orders") == {"orders:read"}
        assert why_no_token(services, key, "orders", "orders:write") == "invalid_scope"
        services.groups.add_member(admin, group, HERE, iamid="bim", userid="bob")
        assert covered(services, key, "orders") == {"orders:read", "orders:write"}
        assert covered(services, token, "orders") == {"orders:read"}, (
            "a token covers what it says, and no more"
        )
        wide = token_for(services, key, "orders")
        assert covered(services, wide, "orders") == {"orders:read", "orders:write"}
        leave(services, admin, group, user.user_id)
        assert covered(services, wide, "orders") == {"orders:read"}


def test_a_scope_that_is_handed_to_a_group_is_taken_from_others(
    services: Services, admin: Principal, bob: Principal, orders: str
) -> None:
    """From the next request on, at the API and at the installation; the group's end leaves it to nobody."""
    group = new_group(services, admin, "writers", "ada")
    (resource,) = services.apis.list_all()
    narrow = new_key(services, bob, scopes=["orders:write"]).secret
    token = token_for(services, narrow, orders)
    theirs = new_key(services, admin, scopes=["orders:write"]).secret
    assert covered(services, token, orders) == {"orders:write"}

    say_anew(services, admin, resource, scopes_of("orders", [group]))
    assert covered(services, narrow, orders) == NOTHING_THERE
    assert covered(services, token, orders) == NOTHING_THERE
    assert covered(services, narrow, None) == WITHHELD
    assert covered(services, theirs, orders) == {"orders:write"}
    services.groups.delete(admin, group, HERE)
    assert covered(services, theirs, orders) == NOTHING_THERE


def test_a_deleted_api_lets_nobody_in(
    services: Services, admin: Principal, bob: Principal, orders: str
) -> None:
    """Keys and tokens are refused there at once, and its scopes are nobody's, wherever they are asked."""
    key = new_key(services, bob, scopes=["orders:read"]).secret
    token = token_for(services, key, orders)
    assert covered(services, token, orders) == {"orders:read"}
    (resource,) = services.apis.list_all()
    whole = new_key(services, bob).secret
    services.apis.delete(admin, resource.resource_id, HERE)
    assert "orders:read" in services.authenticator.identify(whole.encode()).principal.withheld
    assert [covered(services, one, orders) for one in (key, token)] == [UNREGISTERED, UNREGISTERED]
    assert covered(services, key, None) == WITHHELD
    assert why_no_token(services, whole, orders) == "invalid_target"
    with pytest.raises(NotFound):
        services.apis.delete(admin, resource.resource_id, HERE)


def test_scopes_that_nobody_registered_stay_as_they_were(
    services: Services, admin: Principal, orders: str
) -> None:
    """A key narrowed to a name of no API covers it at the installation, and nothing at an API."""
    services.connections.register(COMMAND_LINE, admin.user_id, "one", {})
    made = services.system_keys.get_or_create(
        admin, HERE, name="old", scopes=["plugin:trino"], connection_key="one", regenerate=False
    )
    assert covered(services, made.secret, None) == {"plugin:trino"}
    assert covered(services, made.secret, orders) == NOTHING_THERE


def test_another_node_follows(
    services: Services, reopen: Opener, admin: Principal, bob: Principal, orders: str
) -> None:
    """What one node registers, hands over and deletes is so on another one at the next request."""
    other = reopen()
    key = new_key(services, bob).secret
    token = token_for(services, key, orders)
    assert covered(other, token, orders) == {"orders:read", "orders:write"}
    stock = register(services, "stock")
    assert covered(other, key, "stock") == {"stock:read", "stock:write"}
    assert why_no_token(other, key, "stock") is None
    say_anew(services, admin, stock, scopes_of("stock", []))
    assert covered(other, key, "stock") == {"stock:read"}
    services.apis.delete(admin, stock.resource_id, HERE)
    assert covered(other, key, "stock") == UNREGISTERED
    assert why_no_token(other, key, "stock") == "invalid_target"


def test_a_new_api_is_a_target_of_the_first_exchange_too(
    services: Services, reopen: Opener, bob: Principal
) -> None:
    """A node that has looked at the APIs before knows one that another node registered since."""
    other = reopen()
    key = new_key(services, bob).secret
    assert why_no_token(other, key, "orders") == "invalid_target"
    register(services, "orders")
    assert why_no_token(other, key, "orders") is None


# Tokens


def test_no_exchange_leads_from_one_api_to_another(
    services: Services, bob: Principal, orders: str, stock: str
) -> None:
    """A token of an API becomes one of that API, never of another or of the installation, and none wider."""
    key = new_key(services, bob).secret
    token = token_for(services, key, orders, "orders:read")
    again = token_for(services, token, orders)
    assert covered(services, again, orders) == {"orders:read"}
    assert why_no_token(services, token, orders, "orders:write") == "invalid_scope"
    for name in (stock, None):
        assert why_no_token(services, token, name) == "invalid_target"
    own = token_for(services, key, None)
    assert covered(services, token_for(services, own, stock), stock) == {"stock:read", "stock:write"}


def test_a_token_is_never_wider_than_what_it_is_for(
    services: Services, admin: Principal, bob: Principal, stock: str
) -> None:
    """Neither scopes of another API, nor withheld ones, nor names of nothing, come into a token of an API."""
    register(services, "orders", held_by=[])
    key = new_key(services, bob).secret
    for scope in ("stock:read", "orders:write", "no:such"):
        assert why_no_token(services, key, "orders", scope) == "invalid_scope"
    assert why_no_token(services, key, None, "orders:write") == "invalid_scope"
    assert (
        why_no_token(services, new_key(services, bob, scopes=["stock:read"]).secret, "orders")
        == "invalid_scope"
    )
    assert covered(services, token_for(services, key, "orders"), "orders") == {"orders:read"}


# Keys that are narrowed to scopes


@pytest.mark.parametrize("scopes", [["orders:write"], ["orders:read", "no:such"], [], ["a b"], ["x" * 5000]])
def test_a_key_is_narrowed_to_what_its_user_may_hold(
    services: Services, bob: Principal, scopes: list[str]
) -> None:
    """Scopes that are withheld, of no API, or none at all make no key."""
    register(services, "orders", held_by=[])
    before = actions(services)
    with pytest.raises(InvalidInput) as refused:
        new_key(services, bob, scopes=scopes)
    assert refused.value.field == "scopes"
    assert len(str(refused.value)) < 300
    assert actions(services) == before


def test_a_key_says_what_it_was_narrowed_to(services: Services, bob: Principal, orders: str) -> None:
    """Each scope once; None for a key that is not narrowed."""
    made = new_key(services, bob, scopes=["orders:write", "orders:read", "orders:read"])
    assert made.record.restrictions.scopes == {"orders:read", "orders:write"}
    new_key(services, bob)
    listed = [key.restrictions for key in services.keys.list_own(bob)]
    assert [one.scopes for one in listed] == [None, made.record.restrictions.scopes]


def test_a_narrowed_key_makes_none_that_covers_more(services: Services, bob: Principal, orders: str) -> None:
    """With a narrowed key one makes a key of the same scopes or of fewer, and none of others (A3)."""
    maker = caller(services, new_key(services, bob, scopes=["orders:read", "orders:write"]).secret)
    assert new_key(services, maker).record.restrictions.scopes == maker.scopes
    fewer = new_key(services, maker, scopes=["orders:read"])
    assert fewer.record.restrictions.scopes == {"orders:read"}
    with pytest.raises(InvalidInput, match="covers more"):
        new_key(services, caller(services, fewer.secret), scopes=["orders:write"])


def test_a_retry_wins_no_other_scopes(services: Services, bob: Principal, orders: str) -> None:
    """With the same idempotency key the same scopes give the key a new secret, and others a refusal."""
    first = new_key(services, bob, scopes=["orders:read"], idempotency_key="once")
    again = new_key(services, bob, scopes=["orders:read"], idempotency_key="once")
    assert again.record.key_id == first.record.key_id
    assert covered(services, again.secret, orders) == {"orders:read"}
    for scopes in (None, ["orders:read", "orders:write"]):
        with pytest.raises(Conflict):
            new_key(services, bob, scopes=scopes, idempotency_key="once")


def test_an_owner_makes_no_key_that_covers_what_they_may_not_hold(
    services: Services, admin: Principal, bob: Principal
) -> None:
    """Of a service account that may hold more they make keys of what both may; USER_ADMIN makes any (A3)."""
    group = new_group(services, admin)
    register(services, "orders", held_by=[group])
    account = add_service_account(services, admin, ServiceOwner(bob.user_id))
    services.groups.add_member(admin, group, HERE, iamid="bim", userid=account.userid)
    accounts = services.service_accounts
    told = []
    for scopes in (None, ["orders:write"], ["orders:never"]):
        with pytest.raises(InvalidInput, match="yourself") as refused:
            accounts.create_key(bob, "robot", HERE, chosen_key(scopes=scopes))
        told.append(str(refused.value))
    assert "orders:write" not in told[0], "it is hidden from him"
    assert told[1].replace("write", "never") == told[2], "as if there were none"
    made = accounts.create_key(bob, "robot", HERE, chosen_key(scopes=["orders:read"]))
    assert covered(services, made.secret, "orders") == {"orders:read"}
    offered = services.apis.list_givable(bob, account.user_id)
    assert [scope.name for one in offered for scope in one.scopes] == ["orders:read"]
    wide = accounts.create_key(admin, "robot", HERE, chosen_key())
    assert covered(services, wide.secret, "orders") == {"orders:read", "orders:write"}
    services.groups.add_member(admin, group, HERE, iamid="bim", userid="bob")
    accounts.create_key(bob, "robot", HERE, chosen_key())


# Who registers


@pytest.mark.parametrize(
    ("field", "unfit"),
    [
        ("name", {"name": ""}),
        ("name", {"name": " "}),
        ("name", {"name": "a\nb"}),
        ("name", {"name": "x" * 255}),
        ("identifier", {"identifier": "orders"}),
        ("identifier", {"identifier": "/orders"}),
        ("identifier", {"identifier": "https://orders.example.com/#part"}),
        ("identifier", {"identifier": "https://orders.example.com/a b"}),
        ("identifier", {"identifier": "https://"}),
        ("identifier", {"identifier": "https://orders.example.com:port"}),
        ("identifier", {"identifier": "https://[orders"}),
        ("identifier", {"identifier": "https://bücher.example.com"}),
        ("identifier", {"identifier": "https://" + "x" * 250}),
        ("identifier", {"identifier": "http://127.0.0.1:8400"}),
        ("description", {"description": "x" * 2001}),
        ("scopes", {"scopes": []}),
        ("scopes", {"scopes": [ScopeToRegister(f"s{number}") for number in range(MAX_SCOPES + 1)]}),
        ("scopes", {"scopes": [ScopeToRegister("twice"), ScopeToRegister("twice")]}),
        ("scopes", {"scopes": [ScopeToRegister("")]}),
        ("scopes", {"scopes": [ScopeToRegister("a b")]}),
        ("scopes", {"scopes": [ScopeToRegister('a"b')]}),
        ("scopes", {"scopes": [ScopeToRegister("x" * 129)]}),
        ("scopes", {"scopes": [ScopeToRegister("a", "x" * 255)]}),
        ("scopes", {"scopes": [ScopeToRegister("a", None, [99])]}),
        ("scopes", {"scopes": [ScopeToRegister("a", None, [0])]}),
        ("scopes", {"scopes": [ScopeToRegister("a", None, [2**63])]}),
    ],
)
def test_what_is_unfit_is_refused_at_its_field(
    services: Services, admin: Principal, field: str, unfit: dict[str, Any]
) -> None:
    """Neither a new API nor one that is there is made of it, and nothing is written."""
    there = services.apis.add(admin, HERE, **{**GOOD, "name": "There", "identifier": "urn:there",
                                                   "scopes": [ScopeToRegister("there:read")]})  # fmt: skip
    before = actions(services)
    with pytest.raises(InvalidInput) as refused:
        services.apis.add(admin, HERE, **{**GOOD, **unfit})
    assert refused.value.field == field
    with pytest.raises(InvalidInput) as refused:
        services.apis.update(admin, there.resource_id, HERE, **{**GOOD, **unfit})
    assert refused.value.field == field
    assert actions(services) == before
    assert services.apis.list_all().items == (there,)


@pytest.mark.parametrize(
    ("field", "taken"),
    [
        ("name", {"name": "orders"}),
        ("identifier", {"identifier": identifier_of("orders")}),
        ("scopes", {"scopes": [ScopeToRegister("orders:read")]}),
    ],
)
def test_names_are_no_other_s(
    services: Services, admin: Principal, orders: str, stock: str, field: str, taken: dict[str, Any]
) -> None:
    """The name, the identifier and each scope of an API are taken, also for one that is there already."""
    fresh = {
        **GOOD,
        "name": "Fresh",
        "identifier": "urn:fresh",
        "scopes": [ScopeToRegister("fresh:read")],
        **taken,
    }
    with pytest.raises(InvalidInput) as refused:
        services.apis.add(admin, HERE, **fresh)
    assert (refused.value.field, refused.value.code) == (field, "unique")
    other = services.apis.list_all()[1]
    with pytest.raises(InvalidInput) as refused:
        services.apis.update(admin, other.resource_id, HERE, **fresh)
    assert (refused.value.field, refused.value.code) == (field, "unique")


def test_only_a_holder_of_application_admin_registers(
    services: Services, admin: Principal, orders: str
) -> None:
    """Others, and the administrator's own narrowed key, add, change, delete and count nothing (A3)."""
    (resource,) = services.apis.list_all()
    others = holder(services, "eve", *(set(Permission) - {Permission.APPLICATION_ADMIN}))
    narrowed = caller(services, new_key(services, admin, scopes=["orders:read"]).secret)
    before = actions(services)
    for principal in (others, narrowed):
        for attempt in (
            lambda who: services.apis.add(who, HERE, **GOOD),
            lambda who: services.apis.update(who, resource.resource_id, HERE, **GOOD),
            lambda who: services.apis.delete(who, resource.resource_id, HERE),
            lambda who: services.apis.count_keys(who, resource.resource_id),
            services.apis.list_groups,
        ):
            with pytest.raises(PermissionMissing):
                attempt(principal)
    assert actions(services) == before


def test_people_see_what_they_may_hold(services: Services, admin: Principal, bob: Principal) -> None:
    """An API of which one may hold nothing is as one that there is not; of others one sees one's part."""
    group = new_group(services, admin)
    orders = register(services, "orders", held_by=[group])
    secret = services.apis.add(
        admin,
        HERE,
        **{**GOOD, "name": "Secret", "identifier": "urn:secret", "scopes": [ScopeToRegister("s", None, [])]},
    )
    seen = services.apis.list_visible(bob)
    assert [(one.name, [scope.name for scope in one.scopes]) for one in seen] == [("orders", ["orders:read"])]
    assert services.apis.get(bob, orders.resource_id) == seen[0]
    for absent in (secret.resource_id, 0, 987654321):
        with pytest.raises(NotFound):
            services.apis.get(bob, absent)
    assert services.apis.list_visible(admin) == services.apis.list_all()


def test_every_change_is_told_of(services: Services, admin: Principal) -> None:
    """Registering, changing and deleting each write one row, with who may hold what."""
    after = len(actions(services))
    group = new_group(services, admin)
    made = services.apis.add(admin, HERE, **GOOD)
    say_anew(services, admin, made, [ScopeToRegister("orders:read", None, [group])])
    services.apis.delete(admin, made.resource_id, HERE)
    rows = last_rows(services, after + 1)
    assert [row.action for row in rows] == [
        AuditAction.RESOURCE_CREATED,
        AuditAction.RESOURCE_UPDATED,
        AuditAction.RESOURCE_DELETED,
    ]
    assert {(row.target_type, row.target_id) for row in rows} == {("RESOURCE", str(made.resource_id))}
    assert [row.details.get("scopes") for row in rows[:2]] == [
        {"orders:read": "everyone"},
        {"orders:read": [group]},
    ]


def test_the_keys_that_name_a_scope_are_counted(
    services: Services, admin: Principal, bob: Principal, orders: str
) -> None:
    """Living keys that are narrowed to a scope of the API count, and no others."""
    (resource,) = services.apis.list_all()
    kept = new_key(services, bob, scopes=["orders:read", "orders:write"])
    ended = new_key(services, bob, scopes=["orders:read"])
    services.keys.revoke_own(bob, ended.record.key_id, HERE)
    new_key(services, person(services))
    assert services.apis.count_keys(admin, resource.resource_id) == 1
    services.keys.revoke_own(bob, kept.record.key_id, HERE)
    assert services.apis.count_keys(admin, resource.resource_id) == 0


def test_a_scope_that_is_taken_away_is_nobody_s(
    services: Services, admin: Principal, bob: Principal, orders: str
) -> None:
    """Whoever asks for it refuses everybody, also a key that covers all, until it is registered again.

    A gateway that goes on asking for a scope of old must not be opened by its removal.
    """
    key = new_key(services, bob).secret
    (resource,) = services.apis.list_all()
    kept = [ScopeToRegister(scope.name) for scope in resource.scopes if scope.name != "orders:write"]

    def passes() -> bool:
        try:
            check_scopes(services.authenticator.identify(key.encode()).principal, ["orders:write"])
        except ScopeMissing:
            return False
        return True

    say_anew(services, admin, resource, kept)
    assert not passes()
    say_anew(services, admin, resource, [*kept, ScopeToRegister("orders:write")])
    assert passes()


def test_that_nothing_is_covered_is_remembered(
    services: Services, admin: Principal, bob: Principal, orders: str
) -> None:
    """A living key that covers nothing at an API, and a dead one, are asked of the database once each."""
    group = new_group(services, admin, "nobody")
    services.apis.add(
        admin, HERE, name="Stock", identifier="https://stock.example.com", description=None,
        scopes=[ScopeToRegister("stock:read", None, [group])],
    )  # fmt: skip
    key = new_key(services, bob)
    there = services.authenticator.at("https://stock.example.com")
    for reason in (None, Reason.REVOKED):
        if reason is not None:
            services.keys.revoke_own(bob, key.record.key_id, HERE)
        answers = []
        for _ in range(3):
            with statements(services) as asked, pytest.raises((ScopeMissing, CredentialRefused)) as refused:
                there.authenticate([key.secret.encode()], HERE)
            assert getattr(refused.value, "reason", None) == reason
            answers.append(len([text for text in asked if "api_key" in text]))
        assert answers[0] > 0
        assert answers[1:] == [0, 0]


def test_scopes_must_fit_into_a_token(services: Services, admin: Principal, bob: Principal) -> None:
    """Neither a service nor a key has more scopes than a token, and a header, can say."""
    many = [f"scope:{number:0>90}" for number in range(40)]
    for number, names in enumerate((many[:20], many[20:])):
        said: dict[str, Any] = {"name": f"n{number}", "identifier": f"https://{number}.example.com"}
        with pytest.raises(InvalidInput) as refused:
            services.apis.add(
                admin, HERE, **said, description=None, scopes=[ScopeToRegister(name) for name in many]
            )
        assert refused.value.field == "scopes"
        services.apis.add(
            admin, HERE, **said, description=None, scopes=[ScopeToRegister(name) for name in names]
        )
    with pytest.raises(InvalidInput, match="do not fit"):
        new_key(services, bob, scopes=many)
    key = new_key(services, bob, scopes=many[:20])
    services.exchange.exchange(in_header=[key.secret.encode()], in_body=None, origin=HERE)
