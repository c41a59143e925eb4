"""New user names cannot be taken for others; those from before go on working (fault B3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.errors import InvalidInput
from tests.conftest import PASSWORD
from tests.people import HERE, add_person, change_behind, log_in
from tests.store.crowds import all_at_once

if TYPE_CHECKING:
    from keyturn.composition import Services
    from keyturn.core.principal import Principal


def add(services: Services, admin: Principal, userid: str) -> object:
    return services.user_administration.add(
        admin, HERE, userid=userid, profile={}, password=None, permissions=()
    )


@pytest.mark.parametrize("userid", ["аda@example.com", "a\u202eb", "a\u200bb", "ali\u0307ce", "j\u0307ill"])
def test_fault_b3_a_name_that_deceives_is_refused(services: Services, admin: Principal, userid: str) -> None:
    """Of two scripts, or with what nobody sees: for people and service accounts alike."""
    with pytest.raises(InvalidInput) as refused:
        add(services, admin, userid)
    assert refused.value.field == "userid"


def test_fault_b3_a_name_that_looks_like_another_is_refused(services: Services, admin: Principal) -> None:
    """Only the first of those that look the same is given out, also when all ask at once."""
    add_person(services, "Bobl")
    for userid in ("bob1", "BobI", "b0bl".replace("0", "o").replace("l", "|")):
        with pytest.raises(InvalidInput, match="looks the same") as refused:
            add(services, admin, userid)
        assert refused.value.code == "unique"
    names = ("scope", "ѕсоре")
    outcomes = all_at_once(2, lambda number: add(services, admin, names[number]))
    assert [type(outcome) for outcome in outcomes if isinstance(outcome, Exception)] == [InvalidInput]


@pytest.mark.parametrize(
    ("first", "second"), [("alice", "аӏісе"), ("lisa", "ӏіѕа"), ("mike", "МІКЕ"), ("ВОВ", "bob")]
)
def test_fault_b3_a_name_of_another_script_is_no_disguise(
    services: Services, admin: Principal, first: str, second: str
) -> None:
    """All letters of one other script that look like a name, in small letters or capitals, are refused."""
    add_person(services, first)
    with pytest.raises(InvalidInput, match="looks the same"):
        add(services, admin, second)


def test_fault_b3_names_from_before_go_on(services: Services) -> None:
    """Somebody whose name would not be given out today signs in and is found."""
    user = add_person(services, "plain")
    former = "аda\u200b x"
    change_behind(
        services,
        "UPDATE user_account SET userid = :name, canonical_userid = :name, skeleton = NULL WHERE id = :id",
        name=former,
        id=user.user_id,
    )
    assert log_in(services, former, PASSWORD)
    assert services.users.get_by_userid("bim", former).user_id == user.user_id
