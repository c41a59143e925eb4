"""A new epoch of an installation: everything that was issued before is void.

An epoch begins at a revision that no earlier one can have had: that of its second since 1970, with room for a
million changes in each. So no process that has read a later state of another history takes the new one for
older, or for the same: caches, the feed and followers find a gap, and read everything anew (D7).
"""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from keyturn.core.audit import AuditEntry
from keyturn.store.database.transactions import audit_row
from keyturn.store.installation.carrying import Tables

REVISION_BITS = 20


def first_revision(at: datetime, known: Iterable[int]) -> int:
    """Return the revision of an epoch that begins now; it is higher than all that are `known`.

    It stays below 2^53, which is exact in every JSON, for two centuries.
    """
    return max(int(at.timestamp()) << REVISION_BITS, *(revision + 1 for revision in known))


def end_everything_issued(connection: Connection, tables: Tables, at: datetime) -> None:
    """End all sessions, and with their signing keys all tokens; drop links, codes and waiting devices."""
    session, installation = tables["session"], tables["installation"]
    connection.execute(update(session).where(session.c.ended_at.is_(None)).values(ended_at=at))
    for name in ("device_login", "invitation", "revoked_token", "signing_key"):
        connection.execute(delete(tables[name]))
    connection.execute(update(installation).values(setup_code_digest=None))


def begin_epoch(connection: Connection, tables: Tables, entry: AuditEntry, known: Iterable[int]) -> int:
    """Begin an epoch in tables that nobody else has open yet; return its revision.

    `known` are revisions of other histories that somebody may have read.
    """
    end_everything_issued(connection, tables, entry.at)
    installation = tables["installation"]
    own = connection.execute(select(installation.c.revision)).scalar_one()
    revision = first_revision(entry.at, [own, *known])
    connection.execute(update(installation).values(revision=revision))
    connection.execute(insert(tables["audit"]).values(audit_row(entry, revision)))
    return revision
