"""Tokens that were revoked by themselves."""

from datetime import datetime, timedelta

from sqlalchemy import delete, insert
from sqlalchemy.exc import IntegrityError

from keyturn.core.records import AuditEntry
from keyturn.store.credentials import is_revoked
from keyturn.store.database import Database
from keyturn.store.schema import revoked_token

KEPT_AFTER_END = timedelta(days=1)
"""How long after its end a token is known to be revoked: clocks of nodes differ, and are set back."""


class Tokens:
    """Questions about single tokens, by their `jti`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_revoked(self, jti: str) -> bool:
        """Return whether this token was revoked by itself."""
        return is_revoked(self._database.ask, jti)

    def revoke(self, jti: str, expires_at: datetime, at: datetime, audit: AuditEntry) -> bool:
        """Revoke a token until it would end anyway; return False, and change nothing, if it is revoked."""
        try:
            with self._database.change() as change:
                change.connection.execute(
                    delete(revoked_token).where(revoked_token.c.expires_at <= at - KEPT_AFTER_END)
                )
                change.connection.execute(insert(revoked_token), {"jti": jti, "expires_at": expires_at})
                change.record(audit)
        except IntegrityError:
            return False
        return True
