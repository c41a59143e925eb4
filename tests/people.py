"""People, and how they call."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from keyturn.core.api_key import RANDOM_BYTES, ApiKeyFormat
from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.restriction_kinds import KINDS
from keyturn.core.restrictions import read_restrictions
from keyturn.errors import CredentialRefused
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE, Origin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keyturn.composition import Services
    from keyturn.core.audit import AuditRow
    from keyturn.core.people import ServiceOwner, UserRecord
    from keyturn.core.permissions import Permission
    from keyturn.core.principal import Principal
    from keyturn.core.restrictions import Restrictions
    from keyturn.services.keys.keys import CreatedKey
    from keyturn.services.people.sessions import BrowserSession

PASSWORD = "seven green lanterns drift"
HERE = Origin(address="127.0.0.1", user_agent="tests", request_id="request", via="GET /")
NOWHERE = (None, None, None, None)
"""The trace of a use that says nothing."""
NEW_PASSWORD = "eleven quiet harbours at dusk"


def add_person(services: Services, userid: str = "bob", password: str | None = PASSWORD) -> UserRecord:
    return services.users.add(COMMAND_LINE, userid=userid, name=None, password=password)


def add_holder(services: Services, userid: str, *permissions: Permission) -> UserRecord:
    """Add a person with these permissions and the default ones."""
    return services.users.add(
        COMMAND_LINE, userid=userid, name=None, password=PASSWORD, permissions=frozenset(permissions)
    )


def holder(services: Services, userid: str, *permissions: Permission) -> Principal:
    """Add a person with these permissions and the default ones, signed in with a browser."""
    add_holder(services, userid, *permissions)
    return person(services, userid)


def add_service_account(
    services: Services,
    admin: Principal,
    owner: ServiceOwner,
    userid: str = "robot",
    permissions: Iterable[str] = (),
) -> UserRecord:
    return services.service_accounts.add(
        admin, HERE, userid=userid, name=None, owner=owner, permissions=permissions
    )


def unknown_key() -> str:
    """A key of our form that nobody was ever given."""
    return ApiKeyFormat().make_api_key(os.urandom(RANDOM_BYTES)).text


def put_together(services: Services, admin: Principal, *userids: str) -> None:
    """Put these into a group, where they see each other."""
    group = services.groups.add(admin, HERE, iamid="bim", name=" and ".join(userids)).group_id
    for userid in userids:
        services.groups.add_member(admin, group, HERE, iamid="bim", userid=userid)


def new_key(services: Services, principal: Principal, **chosen: Any) -> CreatedKey:
    """Make a key of what `NewKey` has, and of restrictions by their names on the wire."""
    return services.keys.create(principal, HERE, chosen_key(**chosen))


def chosen_key(**chosen: Any) -> NewKey:
    wire = {kind.wire: chosen.pop(kind.wire) for kind in KINDS if kind.wire in chosen}
    return NewKey(**chosen, restrictions=restricted(**wire))


def restricted(**wire: Any) -> Restrictions:
    """What somebody chose, by its names on the wire."""
    return read_restrictions(wire)


def key_of_service(services: Services, principal: Principal, userid: str = "robot") -> CreatedKey:
    return services.service_accounts.create_key(principal, userid, HERE, NewKey())


def is_accepted(services: Services, credential: str) -> bool:
    """Return whether the next call with this key or token passes."""
    try:
        caller(services, credential)
    except CredentialRefused:
        return False
    return True


def last_rows(services: Services, after: int) -> list[AuditRow]:
    """What was written in the audit log after so many rows."""
    return services.store.audit_log.list_after(limit=10_000)[after:]


def set_password(services: Services, userid: str, password: str) -> None:
    """Set somebody's password from the command line."""
    user = services.users.get_by_userid("bim", userid)
    services.users.set_password(COMMAND_LINE, user, password)


def log_in(services: Services, userid: str = "bob", password: str = PASSWORD) -> str:
    """Log in with a browser; return the cookie."""
    return services.logins.log_in_browser(userid, password, HERE).cookie


def signed_in(services: Services, cookie: str) -> BrowserSession:
    found = services.sessions.find(cookie)
    assert found is not None, "the session lives"
    return found


def person(services: Services, userid: str = "bob") -> Principal:
    """Log in and return who that is."""
    return signed_in(services, log_in(services, userid)).principal


def caller(services: Services, credential: str) -> Principal:
    """Return who calls with this key or token; raise `CredentialRefused`."""
    found = services.authenticator.authenticate([credential.encode()], HERE)
    assert found is not None
    return found


_NOVELTY = "UPDATE audit SET action = 'Novelty', target_type = 'NOVELTY' WHERE revision = :revision"


def change_behind(services: Services, statement: str, **parameters: object) -> None:
    """Change rows by hand, told of as a change of a kind that no program before this knew."""
    audit = AuditEntry(services.system.now(), AuditAction.CONNECTION_CREATED, COMMAND_LINE, Target.USER, "1")
    with services.store._database.change() as change:
        change.connection.execute(text(statement), parameters)
        change.record(audit)
        change.connection.execute(text(_NOVELTY), {"revision": change.revision})


def actions(services: Services) -> list[str]:
    """What happened so far, in order."""
    return [row.action for row in services.store.audit_log.list_after(limit=10_000)]
