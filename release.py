"""Build a release of the commit that is checked out: `make release`.

    dist/VERSION/keyturn-VERSION.tar.gz   the source package
                 keyturn-…-any.whl        the wheel, made from it
                 CHANGELOG.md             the section of this version, with the day of the commit
                 sbom.cdx.json            all packages that the server is locked to (CycloneDX 1.6)
                 SHA256SUMS               the hashes of all of these

Only the commit decides on every byte: files are those of `git archive`, times are the commit's.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent
_LOCKED = re.compile(
    r"^([A-Za-z0-9._-]+)==(\S+) \\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


@dataclass(frozen=True)
class Release:
    """A commit, as it is released."""

    root: Path
    commit: str
    version: str
    at: datetime

    @classmethod
    def of(cls, root: Path) -> Release:
        """Return the release of the commit that is checked out at `root`."""
        commit, seconds = git(root, "log", "-1", "--format=%H %ct").split()
        project = tomllib.loads(git(root, "show", f"{commit}:pyproject.toml"))["project"]
        return cls(root, commit, project["version"], datetime.fromtimestamp(int(seconds), UTC))

    def build(self, folder: Path) -> None:
        """Write all files of the release into `folder`; end with an error where one cannot be made."""
        folder.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix="keyturn-release-") as temporary:
            source = Path(temporary) / "source"
            archive = subprocess.run(
                ["git", "-C", str(self.root), "archive", self.commit], check=True, capture_output=True
            )
            unpack(archive.stdout, source)
            self._build_package("sdist", source, folder)
            packed = folder / f"keyturn-{self.version}.tar.gz"
            unpack(packed.read_bytes(), Path(temporary))
            self._build_package("wheel", Path(temporary) / f"keyturn-{self.version}", folder)
            (folder / "CHANGELOG.md").write_text(self._changes((source / "CHANGELOG.md").read_text()))
            lock = (source / "requirements" / "server.txt").read_text()
        (folder / "sbom.cdx.json").write_text(json.dumps(self._bill(lock), indent=2) + "\n")
        sums = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}"
            for file in sorted(folder.iterdir())
        ]
        (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")

    def tag(self) -> str:
        """Tag the commit in this clone; end with an error if another commit has the tag."""
        name = f"v{self.version}"
        if git(self.root, "tag", "--list", name):
            if git(self.root, "rev-list", "-1", name) != self.commit:
                sys.exit(f"The tag {name} is on another commit: raise the version in pyproject.toml.")
        else:
            git(self.root, "tag", "--annotate", name, "--message", f"Keyturn {self.version}", self.commit)
        return name

    def _build_package(self, target: str, source: Path, folder: Path) -> None:
        times = {"SOURCE_DATE_EPOCH": str(int(self.at.timestamp())), "TZ": "UTC", "LC_ALL": "C.UTF-8"}
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "TMPDIR"}}
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "hatchling",
                "build",
                "--target",
                target,
                "--directory",
                str(folder.resolve()),
            ],
            cwd=source,
            env=kept | times,
            umask=0o022,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{done.stdout}{done.stderr}\nThe {target} cannot be built.")

    def _changes(self, changelog: str) -> str:
        """Return the section of this version."""
        found = re.search(
            rf"^## {re.escape(self.version)}, .*?(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL
        )
        if found is None:
            sys.exit(f"CHANGELOG.md has no section ## {self.version}: write it first.")
        _, _, text = found[0].partition("\n")
        return f"# Keyturn {self.version}, {self.at:%Y-%m-%d}\n{text.rstrip()}\n"

    def _bill(self, lock: str) -> dict[str, object]:
        """Return the bill of materials: each locked package with the hashes that its files may have."""
        components = [
            {
                "type": "library",
                "bom-ref": f"pkg:pypi/{name.lower()}@{version}",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{name.lower()}@{version}",
                "hashes": [
                    {"alg": "SHA-256", "content": digest} for digest in re.findall(r"[0-9a-f]{64}", hashes)
                ],
            }
            for name, version, hashes in _LOCKED.findall(lock)
        ]
        own = f"pkg:pypi/keyturn@{self.version}"
        return {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{own}#{self.commit}')}",
            "version": 1,
            "metadata": {
                "timestamp": f"{self.at:%Y-%m-%dT%H:%M:%SZ}",
                "component": {
                    "type": "application",
                    "bom-ref": own,
                    "name": "keyturn",
                    "version": self.version,
                    "purl": own,
                    "licenses": [{"license": {"id": "Apache-2.0"}}],
                },
            },
            "components": components,
            "dependencies": [{"ref": own, "dependsOn": [one["bom-ref"] for one in components]}],
        }


def git(root: Path, *arguments: str) -> str:
    """Return what git prints."""
    done = subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def unpack(archive: bytes, folder: Path) -> None:
    """Unpack an archive into a folder."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        opened.extractall(folder, filter="data")


def main() -> None:
    """Build the release of this clone into `dist`, and tag its commit."""
    if git(ROOT, "status", "--porcelain"):
        sys.exit("There are changes that are not committed: a release is of a commit.")
    release = Release.of(ROOT)
    folder = ROOT / "dist" / release.version
    if folder.exists():
        sys.exit(f"{folder} is there already: remove it first.")
    release.build(folder)
    print(f"{release.tag()} is built in {folder}:\n\n{(folder / 'SHA256SUMS').read_text()}")


if __name__ == "__main__":
    main()
