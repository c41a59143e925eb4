"""The metrics: their names, their labels with every value that these may have, and where each value lies.

Names follow the conventions of Prometheus: base units, `_total` for what only grows. The values of a label
are those of enumerations of this program. No text of a user, of a credential or of a database can become one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum, auto
from itertools import product

from keyturn import errors
from keyturn.core.audit import AuditAction
from keyturn.core.connections import UNFINISHED, JobState, JobType
from keyturn.errors import KeyturnError, ProofFault, RateLimit, Reason

BUCKETS = (
    *(0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5),
    *(0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds of the histograms, in seconds: from an answer out of memory to one that nobody waits for."""
OTHER = "other"
NANOSECONDS = 1_000_000_000
"""In a second: cells hold whole numbers."""


class Type(Enum):
    """The types of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Source(Enum):
    """How the value of an installation's process comes from those of its workers."""

    SUM = auto()
    LARGEST = auto()
    OBSERVED = auto()
    """By whoever shows the metrics, from outside of the workers."""


class Way(StrEnum):
    """The way to a verdict."""

    CACHE = "cache"
    STORE = "store"
    INTROSPECTION = "introspection"


class Result(StrEnum):
    """The result of something that was asked for."""

    GOOD = "good"
    REFUSED = "refused"
    FAILED = "failed"
    """It could not be known, or not be done."""


class Kind(StrEnum):
    """The kinds of requests."""

    VERIFY = "verify"
    EXCHANGE = "exchange"
    FEED = "feed"
    HEALTH = "health"
    API = "api"
    PAGE = "page"


class Answered(StrEnum):
    """The classes of status codes (RFC 9110, section 15)."""

    SUCCESS = "2xx"
    REDIRECTION = "3xx"
    CLIENT_ERROR = "4xx"
    SERVER_ERROR = "5xx"
    NOTHING = "none"
    """The client left before."""


class Transaction(StrEnum):
    """The kinds of transactions."""

    READ = "read"
    WRITE = "write"


class Cause(StrEnum):
    """Why the database fails, in the words of `store.database.causes`."""

    LOCKED = "locked"
    UNREACHABLE = "unreachable"
    READ_ONLY = "read-only"
    EIO = "EIO"
    CORRUPT = "corrupt"
    ENOSPC = "ENOSPC"
    SLOW = "slow"
    STATEMENT = "statement"
    """It refused one statement, and works."""


def _names_of(kind: type[KeyturnError]) -> Iterator[str]:
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield below.__name__
            yield from _names_of(below)


REFUSALS = tuple(
    dict.fromkeys((*Reason, *ProofFault, *sorted(_names_of(KeyturnError)), "client_gone", "defect", OTHER))
)
"""All that `errors.failure_name` returns, what the gate adds, and one word for all else."""

Labels = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric, with its values one after the other from `first`."""

    name: str
    type: Type
    help: str
    labels: Labels = field(default_factory=dict)
    source: Source = Source.SUM
    unit: int = 1
    """How many of what its cells hold are one of what is shown."""
    first: int = 0

    @property
    def width(self) -> int:
        """How many cells each combination of labels takes: a histogram has one for each bucket and a sum."""
        return len(BUCKETS) + 2 if self.type is Type.HISTOGRAM else 1

    @property
    def combinations(self) -> list[tuple[str, ...]]:
        """All combinations of the values of its labels, in the order of their cells."""
        return [tuple(map(str, one)) for one in product(*self.labels.values())]

    @property
    def cells(self) -> int:
        """How many cells it takes in all."""
        return 0 if self.source is Source.OBSERVED else self.width * len(self.combinations)

    def cell(self, *labels: str) -> int:
        """Return the first cell of these values of its labels; raise `KeyError` for an unknown one."""
        return _CELLS[self.name, labels]


class Mark(IntEnum):
    """Cells that say how a worker is. They come first."""

    PROCESS = 0
    """Its number; 0 for none."""
    STATE = auto()
    READ_AT = auto()
    """When the database last answered: monotonic, in nanoseconds."""
    TRUSTED_UNTIL = auto()
    """When nothing remembered is trusted any more: the same clock."""
    READS_FAIL = auto()
    WRITES_FAIL = auto()
    BEAT = auto()
    """When its loop last went round: in nanoseconds of a clock that stands still while the machine sleeps."""
    PLAIN_GOOD = auto()
    """Good plain verifications out of the cache: they count as requests and as verifications."""


class State(IntEnum):
    """What a worker does."""

    STARTING = 0
    SERVING = auto()
    STOPPING = auto()


CELLS_OF_MARKS = len(Mark)


class _Table:
    """Gives each metric its cells."""

    def __init__(self) -> None:
        self.metrics: list[Metric] = []
        self._next = CELLS_OF_MARKS

    def add(
        self,
        name: str,
        type_: Type,
        text: str,
        labels: Labels | None = None,
        *,
        source: Source = Source.SUM,
        unit: int = 1,
    ) -> Metric:
        metric = Metric(f"keyturn_{name}", type_, text, labels or {}, source, unit, self._next)
        self._next += metric.cells
        self.metrics.append(metric)
        return metric

    @property
    def size(self) -> int:
        return self._next


_table = _Table()
_counter, _gauge, _histogram = Type.COUNTER, Type.GAUGE, Type.HISTOGRAM
_add = _table.add

VERIFICATIONS = _add(
    "verifications_total",
    _counter,
    "Credentials that were judged, by what answered: the cache of verdicts, the store, or an introspection.",
    {"way": tuple(Way), "result": tuple(Result)},
)
REQUESTS = _add(
    "requests_total",
    _counter,
    "Requests that were answered, by kind and class of status.",
    {"kind": tuple(Kind), "status": tuple(Answered)},
)
REQUEST_SECONDS = _add(
    "request_duration_seconds",
    _histogram,
    "Time from the head of a request to its answer. Of plain verifications, one of 16 is timed for all 16.",
    {"kind": tuple(kind for kind in Kind if kind is not Kind.FEED)},
)
REFUSED = _add(
    "refusals_total", _counter, "Requests that were refused or failed, by reason.", {"reason": REFUSALS}
)
LIMITED = _add(
    "rate_limited_total",
    _counter,
    "Requests that were refused by a rate limit.",
    {"limit": tuple(RateLimit)},
)
EXCHANGES = _add(
    "exchanges_total", _counter, "Keys that were to be exchanged for a token.", {"result": tuple(Result)}
)
SIGN_INS = _add("sign_ins_total", _counter, "Attempts to sign in with a password.", {"result": tuple(Result)})
AUDIT_ROWS = _add(
    "audit_rows_total", _counter, "Rows that were added to the audit log.", {"action": tuple(AuditAction)}
)
JOBS = _add(
    "jobs_total",
    _counter,
    "Jobs on connections that ended, by type and state.",
    {"type": tuple(JobType), "state": tuple(state for state in JobState if state not in UNFINISHED)},
)
JOBS_RUNNING = _add("jobs_running", _gauge, "Jobs on connections that run or wait for a thread.")
TRANSACTION_SECONDS = _add(
    "database_transaction_duration_seconds",
    _histogram,
    "Time from the begin of a transaction to its end. A read outside of a transaction counts as one.",
    {"kind": tuple(Transaction)},
)
DATABASE_ERRORS = _add(
    "database_errors_total", _counter, "Errors of the database, by cause.", {"cause": tuple(Cause)}
)
POOL_USED = _add("database_connections_used", _gauge, "Connections of the pool that are in use.")
POOL_SIZE = _add("database_connections_limit", _gauge, "Connections that the pool has at most.")
CACHE_ENTRIES = _add("cache_entries", _gauge, "Verdicts that are remembered.")
CACHE_LIMIT = _add("cache_entries_limit", _gauge, "Verdicts that are remembered at most.")
CACHE_EVICTIONS = _add("cache_evictions_total", _counter, "Verdicts that were dropped to make room.")
CONNECTIONS = _add("connections", _gauge, "Connections of clients that are open.")
CONNECTIONS_REFUSED = _add("connections_refused_total", _counter, "Connections that were refused at once.")
FEED_FOLLOWERS = _add("feed_followers", _gauge, "Verifiers that follow the feed.")
FEED_LAG = _add(
    "feed_lag_seconds",
    _gauge,
    "Age of the oldest change that a follower was not told.",
    source=Source.LARGEST,
    unit=NANOSECONDS,
)
DATABASE_BYTES = _add("database_size_bytes", _gauge, "Size of the database.", source=Source.LARGEST)
WAL_BYTES = _add(
    "database_wal_size_bytes", _gauge, "Size of SQLite's write-ahead log.", source=Source.LARGEST
)

_observed = Source.OBSERVED
STALENESS = _add(
    "staleness_seconds", _gauge, "Time since the database last answered a look for changes.", source=_observed
)
READY = _add("ready", _gauge, "Whether the server can verify credentials (1) or not (0).", source=_observed)
WRITES_FAIL = _add(
    "writes_failing", _gauge, "Whether the database takes no writes (1) or takes them (0).", source=_observed
)
WORKERS = _add("workers", _gauge, "Worker processes that serve.", source=_observed)
REPLACED = _add("workers_replaced_total", _counter, "Worker processes that ended or hung.", source=_observed)
OPEN_FILES = _add("open_files", _gauge, "Open files of the worker that has most of them.", source=_observed)
OPEN_FILES_LIMIT = _add("open_files_limit", _gauge, "Files that a worker may open.", source=_observed)
MEMORY = _add(
    "resident_memory_bytes", _gauge, "Resident memory of the worker that has most of it.", source=_observed
)
STARTED = _add("start_time_seconds", _gauge, "When the server was started, since 1970.", source=_observed)
BUILD = _add(
    "build_info", _gauge, "1, with the versions of Keyturn and of Python as labels.", source=_observed
)

METRICS: Sequence[Metric] = tuple(_table.metrics)
CELLS = _table.size

_CELLS: Mapping[tuple[str, tuple[str, ...]], int] = {
    (metric.name, labels): metric.first + number * metric.width
    for metric in METRICS
    if metric.source is not Source.OBSERVED
    for number, labels in enumerate(metric.combinations)
}
