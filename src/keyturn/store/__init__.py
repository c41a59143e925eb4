"""Everything that is remembered: SQLAlchemy Core, one store on two dialects.

`Store` groups the questions by what they are about; each method is one question or one change. A change
takes the `AuditEntry` that tells of it and writes both, with the next revision, in one transaction: there
is no way to change something without a trace, nor to leave a trace of something that did not happen.
"""

from keyturn.store.database.engine import open_engine
from keyturn.store.store import Store

__all__ = ["Store", "open_engine"]
