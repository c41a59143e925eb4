"""Single tokens that were revoked. A revoked key or session ends its tokens without a row here."""

from datetime import datetime

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from keyturn.core.audit import AuditEntry
from keyturn.store.database.credentials import is_revoked
from keyturn.store.database.schema import revoked_token
from keyturn.store.database.transactions import Database


class Tokens:
    """Questions about single tokens, by their `jti`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_revoked(self, jti: str) -> bool:
        """Return whether this token was revoked by itself."""
        return is_revoked(self._database.query, jti)

    def revoke(self, jti: str, expires_at: datetime, kid: str, audit: AuditEntry) -> bool:
        """Revoke a token of the signing key `kid`; return False, and change nothing, if it is revoked.

        That is known until the signing key is gone (`SigningKeys.retire`). To drop it when the token has
        ended would be to believe one reading of a clock, which may be ahead.
        """
        try:
            with self._database.change(audit) as change:
                change.connection.execute(
                    insert(revoked_token), {"jti": jti, "expires_at": expires_at, "kid": kid}
                )
                change.record(audit)
        except IntegrityError:
            return False
        return True
