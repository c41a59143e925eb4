"""The documentation is true: what exists is in the reference, and its examples run."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
import httpx
import pytest

import keyturn
from keyturn import errors
from keyturn.adapters.technologies import TECHNOLOGIES
from keyturn.cli.main import cli
from keyturn.cli.serve import serve
from keyturn.composition import open_services
from keyturn.core.audit import AuditAction
from keyturn.core.dpop import GOOD_FOR, REPLAY_BOUND
from keyturn.core.permissions import ALLOWS, Permission
from keyturn.counting.table import BUILD, METRICS
from keyturn.errors import ProofFault, Reason
from keyturn.services.keys.keys import NewKey
from keyturn.settings import Settings, read_settings
from keyturn.verifying.origin import COMMAND_LINE
from keyturn.web.app import create_framework_app, route_table
from tests.databases import new_sqlite_database
from tests.gateways.gateways import KINDS
from tests.replica.edges import wait_until
from tests.servers import running_app, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import RunningServer

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
HEADLINES = frozenset(
    {"Nothing fails open.", "Revoked is dead.", "Secrets are seen once.", "Strangers learn nothing."}
)
"""Of the promises of README: what follows says what each means."""
HOWTO = (ROOT / "docs" / "howto" / "protect-an-api.md").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with one user, `ada`."""
    with running_server(new_sqlite_database(tmp_path_factory.mktemp("docs"))) as running:
        running.services.users.add(
            COMMAND_LINE, userid="ada", name="Ada", permissions=frozenset({Permission.GOVERNANCE.value})
        )
        yield running


def new_key(server: RunningServer) -> str:
    ada = server.services.users.get_by_userid("bim", "ada")
    return server.services.keys.create_for(ada.user_id, COMMAND_LINE, NewKey()).secret


def example(heading: str, server: RunningServer) -> dict[str, Any]:
    """Run the Python example under `heading`, pointed at the test's server; return its names."""
    section = HOWTO.partition(f"\n## {heading}\n")[2]
    match = re.search(r"```python \w+\.py\n(.*?)```", section, re.DOTALL)
    assert match is not None
    # A module of its own, since frameworks look up where a function was defined.
    module = ModuleType("example_" + heading.lower().replace(" ", "_"))
    sys.modules[module.__name__] = module
    text = match[1].replace("http://127.0.0.1:8400", server.url)
    text = text.replace("sqlite:////var/lib/keyturn/keyturn.db", server.services.settings.database)
    exec(compile(text, heading, "exec"), module.__dict__)
    return module.__dict__


def test_every_setting_is_in_the_reference_with_its_default() -> None:
    """An operator finds each variable, and its default, in one table."""
    text = (REFERENCE / "settings.md").read_text()
    rows = dict(re.findall(r"^\| `(KEYTURN_\w+)` \| (.*?) \|", text, re.MULTILINE))
    assert set(rows) == {f"KEYTURN_{setting.name.upper()}" for setting in fields(Settings)}
    for setting in fields(Settings):
        if isinstance(setting.default, (str, int)) and setting.default != "":
            shown = str(setting.default).lower() if isinstance(setting.default, bool) else setting.default
            assert rows[f"KEYTURN_{setting.name.upper()}"] == f"`{shown}`"


def test_every_metric_is_in_the_documentation() -> None:
    """An operator finds each metric with its type, its labels and its meaning in one table."""
    text = (ROOT / "docs" / "operate" / "metrics.md").read_text()
    found = re.findall(r"^\| `(keyturn_\w+)` \| (\w+) \| (.*?) ?\| (.*) \|$", text, re.MULTILINE)
    rows = {name: (kind, re.findall(r"`(\w+)`", labels), meaning) for name, kind, labels, meaning in found}
    assert len(rows) == len(found)
    assert rows == {
        metric.name: (
            metric.type.value,
            ["version", "python"] if metric is BUILD else [*metric.labels],
            metric.help,
        )
        for metric in METRICS
    }


def test_every_route_is_in_the_reference(server: RunningServer) -> None:
    """Each operation of the OpenAPI description, and no other, has its line in the table."""
    described = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    operations = {f"{method.upper()} {path}" for path, item in described.items() for method in item}
    table = re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /\S+)`", (REFERENCE / "http-api.md").read_text())
    assert set(table) == operations


def test_the_table_of_permissions_is_whole() -> None:
    """Each permission stands there with what it allows here, in the words of the administration."""
    text = (REFERENCE / "permissions.md").read_text()
    rows = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| (.*) \|$", text, re.MULTILINE))
    told = "Stored, and told to APIs behind `/verify`"
    assert rows == {permission.value: ALLOWS.get(permission, told) for permission in Permission}


def test_the_table_of_routes_says_what_each_asks_for(server: RunningServer) -> None:
    """Docs, table, and description name the same permissions for each route, and what one may do without."""
    text = (REFERENCE / "permissions.md").read_text()
    found = re.findall(r"^\| `([A-Z]+) (/\S*)` \| (.*) \| (.*) \|$", text, re.MULTILINE)
    rows = {(method, path): (permissions, without) for method, path, permissions, without in found}
    assert len(rows) == len(found)
    assert rows == {
        route: (
            ", ".join(f"`{permission}`" for permission in asked.any_of),
            "403" if asked.without is None else asked.without[0].upper() + asked.without[1:],
        )
        for route, asked in route_table().permissions.items()
    }
    described = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    for (method, path), asked in route_table().permissions.items():
        description = described[path][method.lower()]["description"]
        assert all(permission in description for permission in asked.any_of), (method, path)


def test_every_reason_is_in_the_reference() -> None:
    """Each reason that a log line may give is explained."""
    text = (REFERENCE / "errors-in-the-log.md").read_text()
    text = text.partition("## What the log calls a refusal\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == {reason.value for reason in Reason}


def named_in_rows(text: str) -> set[str]:
    """Return the names in the first cells of the rows of tables."""
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"\w+", cell)}


def test_every_audit_action_is_in_the_reference() -> None:
    """Each action that an audit row may have is explained, and no other."""
    assert {name for name in named_in_rows((REFERENCE / "events.md").read_text()) if name[0].isupper()} == {
        action.value for action in AuditAction
    }


def test_every_error_is_in_the_reference(server: RunningServer) -> None:
    """Each status that a route answers has its section, and each class of errors its row."""
    described = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    statuses = {
        status
        for item in described.values()
        for operation in item.values()
        for status in operation["responses"]
        if int(status) >= 400
    }
    headings = re.findall(r"^## (.*)$", (REFERENCE / "errors.md").read_text(), re.MULTILINE)
    said = {status for heading in headings for status in re.findall(r"\b[45]\d\d\b", heading)}
    assert statuses <= said
    text = (REFERENCE / "errors-in-the-log.md").read_text().partition("## Error classes")[2]
    assert named_in_rows(text.partition("\n## ")[0]) == {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.KeyturnError)
    }


def test_every_fault_of_a_proof_is_in_the_reference() -> None:
    """What a log line may say of a proof of possession is explained too."""
    text = (REFERENCE / "dpop.md").read_text()
    assert set(re.findall(r"^\| `(proof_\w+)` \|", text, re.MULTILINE)) == {
        fault.value for fault in ProofFault
    }


def test_every_command_and_option_is_in_the_reference() -> None:
    """Each command of the program, with each of its options, is explained."""
    text = (REFERENCE / "command-line.md").read_text()
    for path, command in commands(cli, "keyturn"):
        assert f"`{path}" in text, path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert any(f"`{option}`" in text for option in parameter.opts), (path, parameter.opts)


def commands(group: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(group, click.Group):
        yield path, group
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from commands(command, f"{path} {name}")


def test_every_requirement_that_is_cited_is_in_the_reference() -> None:
    """Who meets an id such as R3 in the code, or where a test says what it is for, finds its rule."""
    rules = re.findall(
        r"^\| ([A-Z]\d{1,2}) \| .+ \|$", (REFERENCE / "requirements.md").read_text(), re.MULTILINE
    )
    assert len(rules) == len(set(rules))
    for path in (ROOT / "src").rglob("*.py"):
        text = re.sub(r"# noqa:.*", "", path.read_text())
        assert set(re.findall(r"\b[ADFHIKLOQRSTU]\d{1,2}\b", text)) <= set(rules), path
    for path in (ROOT / "tests").rglob("*.py"):
        said = re.findall(r'"""((?:[A-Z]\d{1,2}(?:, )?)+):|\(((?:[A-Z]\d{1,2}(?:, )?)+)\)', path.read_text())
        assert {name for group in said for name in "".join(group).split(", ")} <= set(rules), path


def test_every_heading_that_is_cited_is_in_the_reference() -> None:
    """Who meets a page and its headings in the code, as in (http-api/users.md, "Users"), finds both."""
    cited = 0
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        text = path.read_text()
        assert not re.search(r"\breference, +section", text), path
        for page, listed in re.findall(r'\(([\w/-]+\.md)((?:,\s+"[^"]+")+)', text):
            headings = re.findall(r"^#+ (.+)$", (REFERENCE / page).read_text(), re.MULTILINE)
            assert set(re.findall(r'"([^"]+)"', listed)) <= set(headings), (path, page)
            cited += 1
    assert cited > 10


def test_what_it_works_with_is_what_the_tests_run() -> None:
    """Each library stands there with the version that is installed, and each gateway as its own page says."""
    text = (REFERENCE / "compatibility.md").read_text()
    rows = re.findall(r"^\| ([\w-]+)(?:: [^|]*)? \| ([\d.]+) \|", text, re.MULTILINE)
    how_to = (ROOT / "docs" / "howto" / "gateways" / "README.md").read_text()
    found = re.findall(r"^\| (\w+) \| ([\d.]+) \| \[", how_to, re.MULTILINE)
    gateways = {name: said for name, said in found if name in KINDS}
    assert {name: said for name, said in rows if name in gateways} == gateways
    libraries = {name: said for name, said in rows if name not in gateways}
    assert len(libraries) > 10
    for name, said in libraries.items():
        assert metadata.version(name).startswith(f"{said}."), name
    assert set(gateways) == set(KINDS)


def test_every_promise_of_the_readme_names_the_tests_that_show_it() -> None:
    """Each sentence of "What you can rely on" is on the page of promises, with tests that are there."""
    section = (ROOT / "README.md").read_text().partition("## What you can rely on\n")[2].partition("\n## ")[0]
    promises = re.findall(r"^- \*\*(.*?)(?=\n- |\n\n)", section, re.MULTILINE | re.DOTALL)
    text = " ".join(" ".join(promise.split()) for promise in promises).replace("**", "")
    sentences = [one for one in re.split(r"(?<=[.])\s+", text) if one not in HEADLINES]
    page = (ROOT / "docs" / "explanation" / "promises.md").read_text()
    rows = dict(re.findall(r"^\| (.+?) \| (`tests/.+`) \|$", page, re.MULTILINE))
    assert sorted(sentences) == sorted(rows)
    for named in re.findall(r"`([^`]+)`", " ".join(rows.values())):
        path, _, name = named.partition("::")
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), named


def test_the_links_of_all_documents_lead_somewhere() -> None:
    """No link to a file of this repository is dead."""
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), (document.name, target)


def test_the_example_with_the_verifier_refuses_and_lets_in(server: RunningServer) -> None:
    """The program of the how-to lets in a living key and its token, and refuses everything else at once."""
    program = example("Verify in your own process", server)
    with running_app(program["app"]) as url, httpx.Client(base_url=url) as client:
        key = new_key(server)
        token = httpx.post(f"{server.url}/bim/apikey/authenticate", json={"apikey": key}).json()["token"]
        for _ in range(2):
            for credential in (key, f"Bearer {key}", token, f"Bearer {token}"):
                answer = client.get("/orders", headers={"Authorization": credential})
                assert (answer.status_code, answer.json()) == (200, {"orders": [], "for": "ada"})
        assert client.get("/orders").status_code == 401
        assert client.get("/orders", headers={"Authorization": f"{key}x"}).status_code == 401
        assert client.get("/orders", headers={"Authorization": f"DPoP {key}"}).status_code == 401
        two = [("Authorization", key), ("Authorization", key)]
        assert client.get("/orders", headers=two).status_code == 400
        httpx.delete(
            f"{server.url}/bim/apikey/{key_id(server, key)}", headers={"Authorization": key}
        ).raise_for_status()
        for credential in (key, token):
            assert client.get("/orders", headers={"Authorization": credential}).status_code == 401


def test_the_example_that_asks_keyturn_refuses_and_lets_in(server: RunningServer) -> None:
    """The program of the how-to lets in a living key and its token, and refuses everything else."""
    with running_app(example("Ask Keyturn", server)["app"]) as url, httpx.Client(base_url=url) as client:
        key = new_key(server)
        token = httpx.post(f"{server.url}/bim/apikey/authenticate", json={"apikey": key}).json()["token"]
        for credential in (key, f"Bearer {key}", token, f"Bearer {token}"):
            answer = client.get("/orders", headers={"Authorization": credential})
            assert (answer.status_code, answer.json()) == (200, {"orders": [], "for": "ada"})
        assert client.get("/orders").status_code == 401
        assert client.get("/orders", headers={"Authorization": f"{key}x"}).status_code == 401
        two = [("Authorization", key), ("Authorization", key)]
        assert client.get("/orders", headers=two).status_code == 400
        httpx.delete(
            f"{server.url}/bim/apikey/{key_id(server, key)}", headers={"Authorization": key}
        ).raise_for_status()
        for credential in (key, token):
            assert client.get("/orders", headers={"Authorization": credential}).status_code == 401


def key_id(server: RunningServer, key: str) -> int:
    """Return the id of a key, which the list of its owner shows beside its last characters."""
    answer = httpx.get(f"{server.url}/bim/iam/bim/user/ada/apikeys", headers={"Authorization": key}).json()
    return next(hit["id"] for hit in answer if hit["masked"].endswith(key[-4:]))


def test_the_example_that_checks_tokens_itself_knows_good_from_bad(server: RunningServer) -> None:
    """The program of the how-to reads the user from a good token, and nothing from a bad one."""
    user_id = example("Check tokens yourself", server)["user_id"]
    ada = server.services.users.get_by_userid("bim", "ada")
    key = new_key(server)
    token = httpx.post(f"{server.url}/bim/apikey/authenticate", json={"apikey": key}).json()["token"]
    assert user_id(token) == ada.user_id
    head, claims, signature = token.split(".")
    for bad in (key, "", f"{head}.{claims}.{signature[::-1]}", f"{head}.{claims}."):
        assert user_id(bad) is None


def test_the_version_is_said_once() -> None:
    """The package, its metadata and the changelog speak of the same version."""
    assert f'version = "{keyturn.__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert f"## {keyturn.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_example_at_the_edge_refuses_and_lets_in(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program of the how-to lets in a living key, and refuses it soon after its end."""
    holder = server.services.users.add(
        COMMAND_LINE, userid="edge", name=None, permissions=frozenset({Permission.VERIFY_CREDENTIALS.value})
    )
    follower = server.services.keys.create_for(holder.user_id, COMMAND_LINE, NewKey())
    monkeypatch.setenv("KEYTURN_KEY", follower.secret)
    text = (ROOT / "docs" / "howto" / "verify-at-the-edge.md").read_text()
    match = re.search(r"```python edge\.py\n(.*?)```", text, re.DOTALL)
    assert match is not None
    program: dict[str, Any] = {}
    exec(match[1].replace("http://127.0.0.1:8400", server.url), program)
    key = new_key(server)
    try:
        wait_until(lambda: program["caller"](key, "192.0.2.7") != 401)
        assert program["caller"](f"Bearer {key}", "192.0.2.7").userid == "ada"
        assert program["caller"](None, "192.0.2.7") == 401
        assert program["caller"](f"DPoP {key}", "192.0.2.7") == 401
        guesses = [program["caller"](f"kt_{number}", "192.0.2.8") for number in range(130)]
        assert (guesses[0], guesses[-1]) == (401, 429)
        server.services.keys.revoke_any(key_id(server, key), COMMAND_LINE)
        wait_until(lambda: program["caller"](key, "192.0.2.7") == 401)
    finally:
        program["verifier"].close()


def test_fault_e11_the_bound_of_proofs_is_said_where_they_are_asked_for(tmp_path: Path) -> None:
    """The description of the API, the help of `--workers` and the reference say how often a proof is good."""
    services = open_services(read_settings({"KEYTURN_DATABASE": new_sqlite_database(tmp_path / "database")}))
    try:
        schema = create_framework_app(services).openapi_schema.to_schema()
    finally:
        services.close()
    (scheme,) = schema["components"]["securitySchemes"].values()
    workers = next(option for option in serve.params if option.name == "workers")
    assert isinstance(workers, click.Option)
    for said in (scheme["description"], str(workers.help)):
        assert said.endswith(REPLAY_BOUND)
    seconds = f"{GOOD_FOR.total_seconds():g} seconds at most"
    for page in ("dpop.md", "oauth.md"):
        assert seconds in (REFERENCE / page).read_text(encoding="utf-8")
    assert "dpop.md#once" in (REFERENCE / "command-line.md").read_text(encoding="utf-8")


def test_the_page_of_compatibility_has_each_technology_with_its_tier() -> None:
    """What connections may lead to, and how far it is tested, is told in one table of all technologies."""
    text = (REFERENCE / "compatibility.md").read_text()
    rows = re.findall(r"^\| ([A-Za-z ]+) \| tier (\d) \|", text, re.MULTILINE)
    assert rows == [(one.name, str(one.tier)) for one in TECHNOLOGIES]
