"""The examination by `keyturn admin doctor`: a table of small checks, each of which may need those before it.

A check yields what it finds. Where it cannot look, it raises `NotChecked`, which is not a finding.
"""

import os
import shutil
import ssl
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine

from keyturn.cli.admin import outside
from keyturn.cli.admin.outside import Answered, NotAnswered
from keyturn.composition import open_sealed
from keyturn.errors import CannotStart, StoreUnavailable
from keyturn.services.installation.reader_proof import new_proof
from keyturn.settings import Settings, read_settings
from keyturn.store import Store, open_engine
from keyturn.store.database.engine import sqlite_path
from keyturn.store.database.migrations import check_current
from keyturn.system import System

CLOCK_SECONDS = 10
"""How far two clocks may differ: more than a busy machine takes for a question."""
FREE_PART, FREE_BYTES = 0.1, 1024**3
"""A disk is nearly full if less than the smaller of the two is free."""
WAL_BYTES = 64 * 1024**2
STALE_SECONDS = 2.0
"""As in the alerts of `deploy/prometheus`."""
CERTIFICATE_DAYS = 14

_START = "reference/errors-at-the-start.md"
T = TypeVar("T")


class NotChecked(Exception):
    """This cannot be looked at from here; the text says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """A fault, and its cure."""

    problem: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The same, by the check that found it."""

    check: str
    problem: str
    remedy: str
    more: str
    """A page of the documentation."""


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A check that could not be made, and why."""

    check: str
    reason: str


@dataclass(slots=True)
class Report:
    """How an examination went."""

    findings: list[Finding] = field(default_factory=list)
    not_checked: list[Unchecked] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)


class Patient:
    """An installation that is examined. It is opened step by step, as checks ask for more."""

    def __init__(self, environment: Mapping[str, str], database: str | None, system: System) -> None:
        self.system = system
        self._environment = environment
        self._database = database
        self._opened = ExitStack()

    def close(self) -> None:
        """Close what was opened."""
        self._opened.close()

    @cached_property
    def settings(self) -> Settings:
        """The settings of this shell; raise `CannotStart`."""
        return read_settings(self._environment, database=self._database)

    @cached_property
    def folder(self) -> Path:
        """The folder of an SQLite database."""
        file = sqlite_path(known(lambda: self.settings).database)
        if file is None:
            raise NotChecked("the database is PostgreSQL's, whose files are on its own server")
        return Path(os.path.abspath(file)).parent  # noqa: PTH100 - the path is not to be resolved

    @cached_property
    def engine(self) -> Engine:
        """The database; raise `CannotStart`."""
        engine = open_engine(known(lambda: self.settings).database, must_exist=True)
        self._opened.callback(engine.dispose)
        return engine

    @cached_property
    def store(self) -> Store:
        """The database, with the schema of this program; raise `CannotStart`."""
        check_current(known(lambda: self.engine))
        store = Store(self.engine)
        self._opened.callback(store.close)
        return store

    @cached_property
    def public_url(self) -> str:
        """Where clients reach the server: as it has announced, else as this shell says."""
        told = known(lambda: self.store).installation.find_settings()
        return self.settings.public_url if told is None else told.issuer

    @cached_property
    def ready(self) -> Answered:
        """The answer at the public URL; raise `NotAnswered`."""
        if outside.listens_here(self.settings):
            return outside.ask(self.public_url, "/health/ready")
        try:
            return outside.ask(self.public_url, "/health/ready")
        except NotAnswered:
            raise NotChecked(
                f"no server runs here: nobody listens on {self.settings.host} port {self.settings.port}, "
                f"nor at {self.public_url}"
            ) from None


def known(read: Callable[[], T]) -> T:
    """Return what another check has found to be right; raise `NotChecked` if it did not."""
    try:
        return read()
    except CannotStart:
        raise NotChecked("it needs what an earlier check found to be wrong") from None
    except StoreUnavailable as error:
        raise NotChecked(f"the database does not answer: {error}") from None
    except NotAnswered:
        raise NotChecked("the public URL does not answer") from None


def _settings(patient: Patient) -> Iterator[Found]:
    _ = patient.settings
    yield from ()


def _files(patient: Patient) -> Iterator[Found]:
    """The files of an SQLite database, which their owner alone may read."""
    file = patient.folder / Path(sqlite_path(patient.settings.database) or "").name
    statuses: dict[Path, os.stat_result] = {}
    for path in (file, *(file.with_name(file.name + suffix) for suffix in ("-wal", "-shm"))):
        if path.exists():
            statuses[path] = path.stat()
    for path, status in statuses.items():
        if stat.S_IMODE(status.st_mode) & 0o077:
            yield Found(f"Other users can read or write the file {path}.", f"Run chmod 600 {path}.")
        if status.st_uid != statuses[file].st_uid:
            yield Found(
                f"The file {path} belongs to another user than {file}: a command ran as that user.",
                f"Run chown --reference={file} {path}, and run commands as the user of the server.",
            )


def _folder(patient: Patient) -> Iterator[Found]:
    if not os.access(patient.folder, os.W_OK | os.X_OK):
        yield Found(
            f"The data folder {patient.folder} is read-only for this user.",
            "Run this as the user of the server; if it was so, check the owner and mode of the folder, and "
            f"with `findmnt -T {patient.folder}` whether its file system is mounted read-only.",
        )


def _disk(patient: Patient) -> Iterator[Found]:
    disk = shutil.disk_usage(patient.folder)
    if is_nearly_full(disk.free, disk.total):
        yield Found(
            f"The disk of {patient.folder} is nearly full: {disk.free // 1024**2} MiB of "
            f"{disk.total // 1024**2} MiB are free.",
            f"Find what fills it with `du -xh {patient.folder} | sort -h | tail`, and make room.",
        )


def is_nearly_full(free: int, total: int) -> bool:
    """Return whether a disk of `total` bytes has too little left."""
    return free < min(FREE_BYTES, total * FREE_PART)


def _database(patient: Patient) -> Iterator[Found]:
    _ = patient.engine
    yield from ()


def _schema(patient: Patient) -> Iterator[Found]:
    _ = patient.store
    yield from ()


def _writes(patient: Patient) -> Iterator[Found]:
    try:
        known(lambda: patient.store).check_writes()
    except StoreUnavailable as error:
        yield Found(
            f"The database takes no changes: {error}.", "Find the cause on the page, and end it: no restart."
        )


def _root_key(patient: Patient) -> Iterator[Found]:
    if known(lambda: patient.store).installation.find_root_key_check() is None:
        raise NotChecked("no server has run on this database yet")
    with open_sealed(patient.settings, patient.system):
        yield from ()


def _wal(patient: Patient) -> Iterator[Found]:
    _ = patient.folder
    _, size = known(lambda: patient.store).sizes()
    if size > WAL_BYTES:
        yield Found(
            f"The write-ahead log has {size // 1024**2} MiB, and should have at most {WAL_BYTES // 1024**2}: "
            "a program holds a read transaction open.",
            f"Find who has files open with `fuser -v {patient.folder}/*`, and end backups, shells and other "
            "programs that read the database.",
        )


def _clock(patient: Patient) -> Iterator[Found]:
    """Compare the clock with the database server's, with the newest change, and with who answers."""
    installation = known(lambda: patient.store).installation
    now = patient.system.now()
    database_time = known(installation.database_time)
    if database_time is not None:
        yield from _differing(now, database_time, "the clock of the database's server")
    newest = known(installation.newest_change_at)
    if newest is not None and newest - patient.system.now() > timedelta(seconds=CLOCK_SECONDS):
        yield from _differing(patient.system.now(), newest, "the newest change in the audit log")
    try:
        answered = patient.ready.at
    except (NotAnswered, NotChecked):
        return
    if answered is not None:
        yield from _differing(patient.system.now(), answered, f"the clock behind {patient.public_url}")


def _differing(here: datetime, there: datetime, whose: str) -> Iterable[Found]:
    seconds = round((here - there).total_seconds())
    if abs(seconds) > CLOCK_SECONDS:
        yield Found(
            f"The clock of this machine is {abs(seconds)} seconds {'ahead of' if seconds > 0 else 'behind'} "
            f"{whose}.",
            "Run `timedatectl` on both machines, and let each follow a time server (chrony, "
            "systemd-timesyncd). A clock that is wrong ends keys and tokens too early or too late.",
        )


def _certificate_files(patient: Patient) -> Iterator[Found]:
    settings = known(lambda: patient.settings)
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    if certificate is None or key is None:
        raise NotChecked("the server has no certificate of its own: KEYTURN_TLS_CERTIFICATE_FILE is not set")
    try:
        end = outside.file_certificate_end(certificate, key)
    except OSError as error:
        yield Found(
            f"The TLS certificate {certificate} and key {key} cannot be used "
            f"({error.strerror or type(error).__name__}).",
            "Give PEM files that belong together and that the user of the server can read.",
        )
        return
    if end is None:
        yield Found(
            f"The TLS certificate {certificate} is not valid now.",
            "Renew it, and send the server SIGHUP: it then reads the file again.",
        )
    else:
        yield from _expiring(f"The TLS certificate {certificate}", end, patient.system.now())


def _expiring(whose: str, end: datetime, now: datetime) -> Iterable[Found]:
    left = end - now
    if left < timedelta(days=CERTIFICATE_DAYS):
        yield Found(
            f"{whose} ends on {end:%Y-%m-%d}, in {max(left.days, 0)} days.",
            "Renew it now, and find out why it was not renewed by itself. A server with a certificate of its "
            "own reads it again at SIGHUP.",
        )


def _public_url(patient: Patient) -> Iterator[Found]:
    _ = patient.public_url
    try:
        status = patient.ready.status
    except NotAnswered as error:
        yield Found(
            f"The public URL {patient.public_url} cannot be reached from this machine, though a server "
            f"listens on {patient.settings.host} port {patient.settings.port}. {error}",
            "Correct the proxy, the DNS or KEYTURN_PUBLIC_URL. If only this machine may not reach the "
            "address, allow it.",
        )
        return
    is_known = status in {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE} and "status" in patient.ready.json()
    if not is_known:
        yield Found(
            f"{patient.public_url}/health/ready is answered with the status {status}, by somebody other than "
            "Keyturn.",
            "Let the proxy pass all paths of this host to Keyturn, and check KEYTURN_PUBLIC_URL.",
        )


def _public_certificate(patient: Patient) -> Iterator[Found]:
    if not patient.public_url.startswith("https://"):
        raise NotChecked("the public URL is not https")
    try:
        end = outside.certificate_end(patient.public_url)
    except ssl.SSLCertVerificationError as error:
        yield Found(
            f"The certificate of {patient.public_url} is not trusted: {error.verify_message.rstrip('.')}.",
            "Renew it if it has ended. For an authority of your own, name its file in SSL_CERT_FILE.",
        )
        return
    except OSError:
        raise NotChecked("the public URL does not answer") from None
    yield from _expiring(f"The certificate of {patient.public_url}", end, patient.system.now())


def _proxies(patient: Patient) -> Iterator[Found]:
    """Ask the server, by its public URL, how this very request came to it."""
    _ = known(lambda: patient.ready)
    proof = new_proof(patient.store, patient.system)
    if proof is None:
        raise NotChecked("no server has run on this database yet")
    try:
        answer = outside.ask(patient.public_url, "/health/seen", proof=proof)
    except NotAnswered:
        raise NotChecked("the public URL does not answer") from None
    seen = answer.json()
    if answer.status != HTTPStatus.OK or not {"peer", "forwarded", "trusted"} <= seen.keys():
        raise NotChecked(
            "the server behind the public URL does not know this installation: it is older, its clock "
            "differs by a minute, or it has another database"
        )
    if seen["forwarded"] and not seen["trusted"]:
        yield Found(
            f"The proxy at {seen['peer']} is not trusted: every client counts as {seen['peer']}, for limits, "
            "networks of keys and the log.",
            f"Add {seen['peer']} to KEYTURN_TRUSTED_PROXIES, and restart the server.",
        )
    is_encrypted_elsewhere = patient.public_url.startswith("https") and not patient.settings.serves_tls
    if is_encrypted_elsewhere and not seen["forwarded"]:
        yield Found(
            f"The proxy at {seen['peer']} does not say for whom it asks: every client counts as the proxy.",
            "Let the proxy append the client's address to X-Forwarded-For, as the page shows.",
        )


def _freshness(patient: Patient) -> Iterator[Found]:
    """Ask the node itself, at its management address if it has one."""
    settings = known(lambda: patient.settings)
    remedy = "Find out why the node does not reach its database: see the page. Send it no requests meanwhile."
    if settings.management_address is None:
        ready = known(lambda: patient.ready)
        staleness = None
    else:
        try:
            ready = outside.ask_management(settings, "/health/ready")
            staleness = outside.staleness_of(outside.ask_management(settings, "/metrics").body)
        except NotAnswered:
            if known(lambda: outside.listens_here(settings)):
                yield Found(
                    f"The server does not answer at KEYTURN_MANAGEMENT={settings.management}.",
                    "Start the server with that setting, and see that the process works.",
                )
                return
            raise NotChecked("no server runs here") from None
    if ready.status == HTTPStatus.SERVICE_UNAVAILABLE:
        details = ", ".join(f"{name} {state}" for name, state in ready.json().get("details", {}).items())
        yield Found(f"The node is not ready: {details}.", remedy)
    elif staleness is not None and staleness > STALE_SECONDS:
        yield Found(f"The node is stale: it last reached its database {staleness:.1f} seconds ago.", remedy)


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, what finds, and the page that says more."""

    name: str
    look: Callable[[Patient], Iterator[Found]]
    more: str


CHECKS = (
    Check("settings", _settings, "reference/settings.md"),
    Check("files", _files, "howto/install.md"),
    Check("data folder", _folder, "operate/runbooks/keyturn-writes-fail.md"),
    Check("disk", _disk, "operate/runbooks/disk-full.md"),
    Check("database", _database, _START),
    Check("schema", _schema, _START),
    Check("writes", _writes, "operate/runbooks/keyturn-writes-fail.md"),
    Check("root key", _root_key, _START),
    Check("write-ahead log", _wal, "operate/runbooks/keyturn-wal-large.md"),
    Check("clock", _clock, "operate/doctor.md"),
    Check("certificate files", _certificate_files, "howto/https-and-proxies.md"),
    Check("public URL", _public_url, "howto/https-and-proxies.md"),
    Check("certificate of the public URL", _public_certificate, "howto/https-and-proxies.md"),
    Check("proxies", _proxies, "howto/https-and-proxies.md"),
    Check("freshness", _freshness, "operate/runbooks/keyturn-stale.md"),
)


def examine(environment: Mapping[str, str], database: str | None, system: System) -> Report:
    """Make all checks. The database of the settings is `database`, unless that is None."""
    report, patient = Report(), Patient(environment, database, system)
    try:
        for check in CHECKS:
            _make(check, patient, report)
    finally:
        patient.close()
    return report


def _make(check: Check, patient: Patient, report: Report) -> None:
    try:
        found = list(check.look(patient))
    except NotChecked as reason:
        report.not_checked.append(Unchecked(check.name, str(reason)))
        return
    except CannotStart as error:
        found = [_of_start(error)]
    report.findings += [Finding(check.name, one.problem, one.remedy, f"docs/{check.more}") for one in found]
    if not found:
        report.passed.append(check.name)


def _of_start(error: CannotStart) -> Found:
    """Split the sentence with which a server refuses to start: the cause, and behind a colon the cure."""
    problem, colon, remedy = str(error).partition(": ")
    if not colon:
        return Found(problem, "Look the sentence up on the page, which says what to do.")
    return Found(f"{problem}.", remedy[:1].upper() + remedy[1:])
