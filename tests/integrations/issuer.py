"""A Keyturn installation, and credentials of every kind that it issued."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.people import HERE, add_person, change_behind, restricted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.composition import Services
    from keyturn.services.keys.keys import CreatedKey

NOWHERE_NEAR = "192.0.2.0/24"
"""A network that no test calls from."""


@dataclass(frozen=True)
class Issuer:
    """The server's services, with one person, `bob`."""

    services: Services
    database: str
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def key(self, userid: str = "bob", *, source: str | None = None) -> CreatedKey:
        user = self.services.users.get_by_userid("bim", userid)
        new = NewKey(restrictions=restricted(allowFrom=None if source is None else [source]))
        return self.services.keys.create_for(user.user_id, COMMAND_LINE, new)

    def token(self, key: CreatedKey) -> str:
        return self.services.exchange.exchange(in_header=[], in_body=key.secret, origin=HERE).token

    def narrowed(self, scopes: str = '["orders:read"]') -> CreatedKey:
        return self._changed("UPDATE api_key SET scopes = :scopes WHERE id = :id", scopes=scopes)

    def expired(self) -> CreatedKey:
        return self._changed("UPDATE api_key SET expires_at = created_at + 1 WHERE id = :id")

    def revoked(self) -> CreatedKey:
        key = self.key()
        self.revoke(key)
        return key

    def revoke(self, key: CreatedKey) -> None:
        self.services.keys.revoke_any(key.record.key_id, COMMAND_LINE)

    def of_a_disabled_owner(self) -> CreatedKey:
        name = self.add_person()
        key = self.key(name)
        self.disable(name)
        return key

    def add_person(self) -> str:
        name = f"person-{next(self._numbers)}"
        add_person(self.services, name, password=None)
        return name

    def disable(self, userid: str) -> None:
        self.services.users.set_disabled(COMMAND_LINE, userid, disabled=True)

    def take_the_keys_away(self) -> None:
        """Make every question about a key unanswerable."""
        change_behind(self.services, "ALTER TABLE api_key RENAME TO gone")

    def _changed(self, statement: str, **parameters: Any) -> CreatedKey:
        key = self.key()
        change_behind(self.services, statement, id=key.record.key_id, **parameters)
        return key
