"""A release: the same bytes from the same commit, whole, with what it says of itself."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

import keyturn
from release import Release, git
from tests.deploy import DEPLOY, ROOT

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = Release.of(ROOT)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release of the commit that is checked out."""
    folder = tmp_path_factory.mktemp("release") / "first"
    RELEASE.build(folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> set[str]:
    (file,) = built.glob("*.whl")
    return set(zipfile.ZipFile(file).namelist())


def test_two_builds_of_a_commit_are_the_same_bytes(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the folder nor the time zone, nor the clone, nor other variables show in any file."""
    clone = tmp_path / "clone"
    git(ROOT, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone))
    git(clone, "checkout", "--quiet", RELEASE.commit)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    again = tmp_path / "again"
    Release.of(clone).build(again)
    assert {file.name: file.read_bytes() for file in again.iterdir()} == {
        file.name: file.read_bytes() for file in built.iterdir()
    }


def test_the_wheel_has_all_that_an_installation_shows(wheel: set[str]) -> None:
    """Documentation, templates, migrations, manual pages and completion are in it, and no test."""
    shared = f"keyturn-{RELEASE.version}.data/data/share"
    assert {
        "keyturn/documentation/documentation.db",
        "keyturn/py.typed",
        "keyturn/web/static/face.css",
        "keyturn/store/database/migrations/env.py",
        f"{shared}/man/man1/keyturn-serve.1",
        f"{shared}/bash-completion/completions/keyturn",
        f"{shared}/zsh/site-functions/_keyturn",
        f"{shared}/fish/vendor_completions.d/keyturn.fish",
    } <= wheel
    assert not {name for name in wheel if name.startswith(("tests", "bench", "docs", "deploy", "release"))}


def test_the_source_package_has_every_file_of_the_commit(built: Path) -> None:
    """Who has the source package has what is deployed, documented and tested; the wheel is made from it."""
    with tarfile.open(built / f"keyturn-{RELEASE.version}.tar.gz") as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    committed = set(git(ROOT, "ls-tree", "-r", "--name-only", RELEASE.commit).splitlines())
    assert committed - names == set()
    assert {str(file.relative_to(ROOT)) for file in DEPLOY.rglob("*.service")} <= names


def test_the_bill_of_materials_is_the_lock_file(built: Path) -> None:
    """It lists each locked package in its version, with every hash that pip accepts."""
    bill = json.loads((built / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    lock = git(ROOT, "show", f"{RELEASE.commit}:requirements/server.txt")
    locked = dict(re.findall(r"^(\S+)==(\S+) \\$", lock, re.MULTILINE))
    assert {one["name"]: one["version"] for one in bill["components"]} == locked
    hashes = sorted(digest["content"] for one in bill["components"] for digest in one["hashes"])
    assert hashes == sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})", lock))


def test_the_sums_are_those_of_all_files(built: Path) -> None:
    """`sha256sum --check` passes, and no file is left out."""
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=built,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listed = {line.split("  ")[1] for line in (built / "SHA256SUMS").read_text().splitlines()}
    assert listed | {"SHA256SUMS"} == {file.name for file in built.iterdir()}


def test_the_changes_are_those_of_the_version_alone(built: Path) -> None:
    """The file begins with the version and its day, and holds no other version."""
    text = (built / "CHANGELOG.md").read_text()
    assert text.startswith(f"# Keyturn {RELEASE.version}, {RELEASE.at:%Y-%m-%d}\n")
    assert "\n## " not in text
    assert len(text) > 1000


def test_the_program_says_the_version_of_the_package() -> None:
    """pyproject.toml and the package name one version."""
    project = (ROOT / "pyproject.toml").read_text()
    assert f'\nversion = "{keyturn.__version__}"\n' in project


def test_a_tag_stays_on_its_commit(tmp_path: Path) -> None:
    """A commit is tagged once, and another one of the same version is refused."""
    git(tmp_path, "init", "--quiet")
    for name, value in (("user.name", "Test"), ("user.email", "test@example.com")):
        git(tmp_path, "config", name, value)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    release = Release.of(tmp_path)
    assert [release.tag(), release.tag()] == ["v1.2.3"] * 2
    assert git(tmp_path, "rev-list", "-1", "v1.2.3") == release.commit
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "two")
    with pytest.raises(SystemExit, match="on another commit"):
        Release.of(tmp_path).tag()
