"""The one root key under which secrets are stored."""

from sqlalchemy import select

from keyturn.core.seals import head_of
from keyturn.errors import TooBusy
from keyturn.store.database.schema import installation
from keyturn.store.database.transactions import Change


def check_seal(change: Change, seal: bytes) -> None:
    """Raise `TooBusy` unless `seal` was made under the root key that seals now.

    For a change that holds the lock of all changes, as one does that is recorded: a rotation of the root key,
    which is a change too, begins before it or after it. Therefore a rotation that has begun finds every row
    of the former root key, and none is added (S3).
    """
    check = change.connection.execute(select(installation.c.root_key_check)).scalar_one()
    if head_of(seal) != head_of(check):
        raise TooBusy("The root key was rotated just now: try again.", retry_after=1)
