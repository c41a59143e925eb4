"""`keyturn admin doctor`: all that it promises to find, made wrong for real, and silence where nothing is."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pysqlite3
import pytest

from keyturn.cli.admin.examination import CHECKS, FREE_BYTES, examine, is_nearly_full
from keyturn.cli.admin.outside import file_certificate_end
from keyturn.composition import open_services
from keyturn.core.networks import read_network
from keyturn.settings import read_settings
from keyturn.store.database.migrations import _versions
from keyturn.store.database.sqlite import sqlite_path
from keyturn.system import System, utc_now
from keyturn.verifying.origin import COMMAND_LINE
from tests.certificates import make_certificate
from tests.databases import new_postgresql_database
from tests.faults.forwarder import forwarding
from tests.journeys.processes import free_port, serving
from tests.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.cli.admin.examination import Report
    from tests.cli.conftest import Command

START_SECONDS = 60


@pytest.fixture
def environment(database: str, root_key_file: Path) -> dict[str, str]:
    """The settings of an installation on either database that a server has run on, and none does now."""
    settings = {
        "KEYTURN_DATABASE": database,
        "KEYTURN_ROOT_KEY_FILE": str(root_key_file),
        "KEYTURN_PORT": str(free_port()),
    }
    services = open_services(read_settings(settings))
    services.start()
    services.close()
    return settings


@contextmanager
def served(environment: dict[str, str], **settings: object) -> Iterator[dict[str, str]]:
    """The installation with a server; yield the settings of its shell."""
    given = {"root_key_file": environment["KEYTURN_ROOT_KEY_FILE"], **settings}
    with running_server(environment["KEYTURN_DATABASE"], **given) as server:
        yield environment | {"KEYTURN_PORT": str(server.services.settings.port)}


def found(report: Report) -> list[str]:
    """Return the names of the checks that found something, each with a remedy and a page."""
    for finding in report.findings:
        assert finding.problem.endswith("."), finding
        assert finding.remedy[-1] in ".?", finding
        assert finding.more.startswith("docs/"), finding
    return [finding.check for finding in report.findings]


def off_by(offset: timedelta) -> System:
    """Return a clock that is wrong by so much."""
    return System(now=lambda: utc_now() + offset, timestamp=lambda: time.time() + offset.total_seconds())


@pytest.fixture
def on_sqlite(tmp_path: Path, root_key_file: Path) -> dict[str, str]:
    """An installation on SQLite, whose folder is its own."""
    folder = tmp_path / "data"
    settings = {
        "KEYTURN_DATABASE": f"sqlite:///{folder / 'keyturn.db'}",
        "KEYTURN_ROOT_KEY_FILE": str(root_key_file),
        "KEYTURN_PORT": str(free_port()),
    }
    open_services(read_settings(settings, new_installation=True)).close()
    return settings


def test_a_good_installation_has_no_findings(environment: dict[str, str]) -> None:
    """The doctor is silent on both databases, with a server and without, and names what it did not check."""
    alone = examine(environment, None, System())
    assert alone.findings == []
    assert "public URL" in [unchecked.check for unchecked in alone.not_checked]
    with served(environment) as shell:
        beside = examine(shell, None, System())
    assert beside.findings == []
    assert {"public URL", "proxies", "freshness", "clock", "writes", "root key"} <= set(beside.passed)
    for report in (alone, beside):
        told = [*report.passed, *(unchecked.check for unchecked in report.not_checked)]
        assert sorted(told) == sorted(check.name for check in CHECKS)


def test_the_command_says_what_is_wrong_and_what_to_do(run: Command, on_sqlite: dict[str, str]) -> None:
    """The exit code is 0 in silence and 1 with a finding, in words and as JSON; 2 is for a wrong option."""
    well = run("admin", "doctor", **on_sqlite)
    assert (well.code, well.err) == (0, "")
    assert "Nothing is wrong." in well.out
    root_key = on_sqlite["KEYTURN_ROOT_KEY_FILE"]
    os.chmod(root_key, 0o644)  # noqa: PTH101 - a text
    ill = run("admin", "doctor", **on_sqlite)
    assert ill.code == 1
    assert f"Problem (root key): Other users can read the root key file {root_key}." in ill.err
    assert f"Remedy: Run chmod 600 {root_key}." in ill.err
    told = json.loads(run("admin", "doctor", "--json", **on_sqlite).out)
    assert [finding["check"] for finding in told["findings"]] == ["root key"]
    assert run("admin", "doctor", "--jsno", **on_sqlite).code == 2


def test_a_wrong_setting_is_found(environment: dict[str, str]) -> None:
    """A variable that no server would start with is a finding, and nothing else is guessed."""
    assert found(examine(environment | {"KEYTURN_PROT": "1"}, None, System())) == ["settings"]


def test_a_root_key_that_others_can_read_is_found(environment: dict[str, str], root_key_file: Path) -> None:
    """Mode 0640 is a finding, on both databases."""
    root_key_file.chmod(0o640)
    assert found(examine(environment, None, System())) == ["root key"]


def test_a_wrong_root_key_is_found(environment: dict[str, str], root_key_file: Path) -> None:
    """A root key of another installation is a finding, on both databases."""
    root_key_file.write_text("B" * 43)
    assert found(examine(environment, None, System())) == ["root key"]


def test_an_older_schema_is_found_and_left_alone(environment: dict[str, str]) -> None:
    """A database of an older version is a finding, on both databases, and is not migrated."""
    older = f"UPDATE alembic_version SET version_num = '{_versions()[1]}'"
    if (file := sqlite_path(environment["KEYTURN_DATABASE"])) is not None:
        with closing(pysqlite3.connect(file)) as connection:
            connection.execute(older)
            connection.commit()
    else:
        with psycopg.connect(environment["KEYTURN_DATABASE"]) as postgresql:
            postgresql.execute(older.encode())
    for _ in range(2):
        report = examine(environment, None, System())
        assert found(report) == ["schema"]
        assert "keyturn admin upgrade" in report.findings[0].remedy


def test_files_that_others_can_read_are_found(on_sqlite: dict[str, str]) -> None:
    """A database that was copied with the mode of a careless shell is a finding."""
    os.chmod(on_sqlite["KEYTURN_DATABASE"].removeprefix("sqlite:///"), 0o644)  # noqa: PTH101 - a text
    assert found(examine(on_sqlite, None, System())) == ["files"]


@contextmanager
def read_only(folder: Path) -> Iterator[bool]:
    """Let nobody write to a folder, root neither; yield whether that could be done."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield True
        folder.chmod(0o700)
        return
    bind = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False)
    if bind.returncode != 0:
        yield False
        return
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], capture_output=True, check=True)
        yield True
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_read_only_data_folder_is_found(on_sqlite: dict[str, str], tmp_path: Path) -> None:
    """A folder that cannot be written is a finding, and so is what follows from it."""
    with read_only(tmp_path / "data") as is_so:
        report = examine(on_sqlite, None, System())
    assert not is_so or "data folder" in found(report)


@pytest.mark.parametrize(
    ("free", "total", "is_full"),
    [
        (FREE_BYTES, 10 * FREE_BYTES, False),
        (FREE_BYTES - 1, 10 * FREE_BYTES, True),
        (FREE_BYTES, 1000 * FREE_BYTES, False),
        (100, 1000, False),
        (99, 1000, True),
    ],
)
def test_a_disk_is_nearly_full_at_exactly_its_bound(free: int, total: int, is_full: bool) -> None:
    """A tenth is needed of a small disk, and a gibibyte of a large one."""
    assert is_nearly_full(free, total) is is_full


def test_a_disk_that_is_nearly_full_is_found(on_sqlite: dict[str, str], tmp_path: Path) -> None:
    """A small file system with little room left is a finding."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        return  # The bound itself is tested above.
    try:
        shutil.copytree(tmp_path / "data", small, dirs_exist_ok=True)
        with (small / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, shutil.disk_usage(small).free - 2 * 1024**2)
        settings = on_sqlite | {"KEYTURN_DATABASE": f"sqlite:///{small / 'keyturn.db'}"}
        assert found(examine(settings, None, System())) == ["disk"]
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def test_a_large_write_ahead_log_is_found(on_sqlite: dict[str, str], tmp_path: Path) -> None:
    """A log that a reader keeps from being taken over is a finding above 64 MiB, and none below."""
    file = tmp_path / "data" / "keyturn.db"
    with closing(pysqlite3.connect(file)) as writer, closing(pysqlite3.connect(file)) as reader:
        writer.execute("CREATE TABLE filler (content BLOB)")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM filler").fetchone()
        names = []
        for size in (60, 10):
            writer.execute("INSERT INTO filler VALUES (zeroblob(?))", (size * 1024**2,))
            writer.commit()
            names.append(found(examine(on_sqlite, None, System())))
    assert names == [[], ["write-ahead log"]]


def test_a_postgresql_that_does_not_flush_is_found(postgresql_server: str, root_key_file: Path) -> None:
    """`synchronous_commit` off is a finding, with its remedy."""
    address = new_postgresql_database(postgresql_server)
    environment = {"KEYTURN_DATABASE": address, "KEYTURN_ROOT_KEY_FILE": str(root_key_file)}
    name = psycopg.conninfo.conninfo_to_dict(address)["dbname"]
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())
    report = examine(environment, None, System())
    assert found(report) == ["database"]
    assert report.findings[0].problem == "PostgreSQL runs with synchronous_commit=off, which loses writes."


@pytest.mark.parametrize("offset", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_clock_that_is_off_by_an_hour_is_found(environment: dict[str, str], offset: timedelta) -> None:
    """It is compared with PostgreSQL's, and on SQLite with that of the server which answers."""
    with served(environment) as shell:
        assert set(found(examine(shell, None, off_by(offset)))) == {"clock"}


def test_a_clock_behind_the_newest_change_is_found(on_sqlite: dict[str, str]) -> None:
    """Where no server answers, a change that was made in the future is a finding."""
    services = open_services(read_settings(on_sqlite))
    services.users.add(COMMAND_LINE, userid="ada@example.com", name=None)
    services.close()
    assert found(examine(on_sqlite, None, System())) == []
    assert found(examine(on_sqlite, None, off_by(timedelta(hours=-1)))) == ["clock"]


@pytest.mark.parametrize(("days", "is_found"), [(15, False), (13, True), (0, True)])
def test_a_certificate_that_ends_soon_is_found(
    on_sqlite: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    days: int,
    is_found: bool,
) -> None:
    """Less than 14 days are a finding, in the file and at the public URL; one that has ended is too."""
    made = make_certificate(tmp_path, ends_days=days)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    files = {"tls_certificate_file": made.file, "tls_key_file": made.key_file}
    shown = {f"KEYTURN_{name.upper()}": str(path) for name, path in files.items()}
    with served(on_sqlite, **files) as shell:
        report = examine(shell | shown, None, System())
    names = {"certificate files", "certificate of the public URL"}
    assert names & set(found(report)) == (names if is_found else set())
    assert is_found or report.findings == []


def test_a_certificate_without_its_key_is_found(on_sqlite: dict[str, str], tmp_path: Path) -> None:
    """Files that do not belong together are a finding, and a file tells its end without a connection."""
    (tmp_path / "other").mkdir()
    made, other = make_certificate(tmp_path, ends_days=90), make_certificate(tmp_path / "other")
    end = file_certificate_end(made.file, made.key_file)
    assert end is not None
    assert end - utc_now() > timedelta(days=89)
    mixed = {"KEYTURN_TLS_CERTIFICATE_FILE": str(made.file), "KEYTURN_TLS_KEY_FILE": str(other.key_file)}
    assert found(examine(on_sqlite | mixed, None, System())) == ["certificate files"]


def test_a_public_url_that_leads_nowhere_is_found(environment: dict[str, str]) -> None:
    """A server that works, and an address at which nobody reaches it, are a finding."""
    with served(environment, public_url=f"http://127.0.0.1:{free_port()}") as shell:
        assert found(examine(shell, None, System())) == ["public URL"]


_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} {tls};
        location / {{
            proxy_pass http://127.0.0.1:{server}; proxy_set_header Host $http_host; {header}
        }}
    }}
}}
"""
_FORWARDED = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"


@contextmanager
def nginx(folder: Path, port: int, server: int, *, header: str, tls: str = "") -> Iterator[None]:
    """A real proxy before a server."""
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("no nginx: install nginx-light")
    folder.mkdir()
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(folder=folder, port=port, server=server, header=header, tls=tls))
    process = subprocess.Popen([program, "-p", folder, "-e", folder / "error.log", "-c", file])
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("is_trusted", [True, False])
def test_a_proxy_that_is_not_trusted_is_found(
    on_sqlite: dict[str, str], tmp_path: Path, is_trusted: bool
) -> None:
    """The doctor asks through a real proxy, and the server says whether it believes it."""
    port = free_port()
    trusted = (read_network("127.0.0.1"),) if is_trusted else ()
    with (
        served(on_sqlite, public_url=f"http://127.0.0.1:{port}", trusted_proxies=trusted) as shell,
        nginx(tmp_path / "proxy", port, int(shell["KEYTURN_PORT"]), header=_FORWARDED),
    ):
        report = examine(shell, None, System())
    assert found(report) == ([] if is_trusted else ["proxies"])
    assert is_trusted or "Add 127.0.0.1 to KEYTURN_TRUSTED_PROXIES" in report.findings[0].remedy


def test_a_proxy_that_hides_its_clients_is_found(
    on_sqlite: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that speaks TLS and leaves X-Forwarded-For out makes one client of all."""
    port, made = free_port(), make_certificate(tmp_path, ends_days=90)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    tls = f"ssl; ssl_certificate {made.file}; ssl_certificate_key {made.key_file}"
    with (
        served(
            on_sqlite, public_url=f"https://127.0.0.1:{port}", trusted_proxies=(read_network("127.0.0.1"),)
        ) as shell,
        nginx(tmp_path / "proxy", port, int(shell["KEYTURN_PORT"]), header="", tls=tls),
    ):
        assert found(examine(shell, None, System())) == ["proxies"]


def test_a_stale_node_is_found(postgresql_server: str, tmp_path: Path, root_key_file: Path) -> None:
    """A node that has lost its database is a finding, while the database itself is well."""
    database = new_postgresql_database(postgresql_server)
    management = f"127.0.0.1:{free_port()}"
    settings = {"KEYTURN_ROOT_KEY_FILE": str(root_key_file), "KEYTURN_MANAGEMENT": management}
    name = str(psycopg.conninfo.conninfo_to_dict(database)["dbname"])
    with (
        forwarding(postgresql_server) as network,
        serving(network.url(name), tmp_path, environment=settings) as server,
    ):
        shell = settings | {"KEYTURN_DATABASE": database, "KEYTURN_PORT": str(server.port)}
        assert found(examine(shell, None, System())) == []
        network.fall_silent()
        deadline = time.monotonic() + START_SECONDS
        while "freshness" not in found(examine(shell, None, System())):
            assert time.monotonic() < deadline, "the node is not found to be stale"
