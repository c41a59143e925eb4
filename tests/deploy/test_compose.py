"""The compose file: whole in itself, with settings that the server takes and a gateway that nginx takes."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.certificates import make_certificate
from tests.deploy import DEPLOY, check_stop_seconds
from tests.journeys.processes import free_port

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = DEPLOY / "compose"
TEXT = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
COMPOSED: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSED["services"]
CHOSEN = {"PUBLIC_URL": "https://keys.example.com", "METRICS_TARGET": "keyturn:9464"}
"""What the operator writes into .env."""


def given(text: str) -> str:
    """Return a value with the variables of .env, each of which must be asked for with a word."""
    return re.sub(r"\$\{(\w+):\?[^}]+\}", lambda match: CHOSEN[match[1]], text)


def test_everything_that_is_named_is_there() -> None:
    """Services refer to secrets, files, volumes, networks and services of this file, and each is used."""
    for kind in ("secrets", "networks"):
        used = {name for service in SERVICES.values() for name in service.get(kind, ())}
        assert used == COMPOSED[kind].keys(), kind
    used = {one["source"] for service in SERVICES.values() for one in service.get("configs", ())}
    assert used == COMPOSED["configs"].keys()
    mounted = [one.split(":")[0] for service in SERVICES.values() for one in service.get("volumes", ())]
    assert {name for name in mounted if not name.startswith("./")} == COMPOSED["volumes"].keys()
    assert {name for name in mounted if name.startswith("./")} == {"./nginx.conf", "./secrets/tls"}
    needed = {name for service in SERVICES.values() for name in service.get("depends_on", ())}
    assert needed < SERVICES.keys()
    assert set(re.findall(r"\$\{(\w+)", TEXT)) == CHOSEN.keys()


def test_the_settings_fit_and_compose_waits_for_the_drain() -> None:
    """All variables are settings that go together, and no server is killed that still drains."""
    server = SERVICES["keyturn"]
    environment = {
        name: given(value) for name, value in server["environment"].items() if name.startswith("KEYTURN_")
    }
    seconds = float(server["stop_grace_period"].removesuffix("s"))
    settings = check_stop_seconds(seconds, environment | {"KEYTURN_HOST": "0.0.0.0"})
    (network,) = (one["subnet"] for one in COMPOSED["networks"]["keyturn"]["ipam"]["config"])
    assert list(map(str, settings.trusted_proxies)) == [network]
    assert str(settings.root_key_file) == "/run/secrets/root_key"
    assert SERVICES["upgrade"]["environment"] == server["environment"]
    assert SERVICES["upgrade"]["command"] == ["admin", "upgrade"]


def test_only_the_gateway_is_open_to_others() -> None:
    """nginx alone listens for everyone; Grafana is for this host, and nothing else has a port."""
    assert {name: one["ports"] for name, one in SERVICES.items() if "ports" in one} == {
        "nginx": ["443:443"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


def test_files_inside_the_file_are_whole() -> None:
    """What Prometheus and Grafana get are files in their form."""
    scraped = yaml.safe_load(given(COMPOSED["configs"]["prometheus"]["content"]))
    (job,) = scraped["scrape_configs"]
    assert job["static_configs"] == [{"targets": [CHOSEN["METRICS_TARGET"]]}]
    provided = yaml.safe_load(COMPOSED["configs"]["datasource"]["content"])
    assert provided["datasources"][0]["url"] == "http://prometheus:9090"


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx: install nginx-light to run these tests")
def test_nginx_takes_its_file(tmp_path: Path) -> None:
    """nginx reads every line of its configuration, with a certificate where the page says."""
    made = make_certificate(tmp_path)
    text = (FOLDER / "nginx.conf").read_text()
    for written, here in (
        ("listen 443", f"listen 127.0.0.1:{free_port()}"),
        ("/etc/nginx/tls/fullchain.pem", str(made.file)),
        ("/etc/nginx/tls/privkey.pem", str(made.key_file)),
    ):
        assert text.count(written) == 1, written
        text = text.replace(written, here)
    file = tmp_path / "nginx.conf"
    file.write_text(f"pid {tmp_path}/nginx.pid;\nerror_log stderr;\n{text}")
    done = subprocess.run(
        ["nginx", "-t", "-c", str(file), "-p", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
