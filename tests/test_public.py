"""What the documentation promises of `keyturn` can be imported from it."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import keyturn
import keyturn.client
import keyturn.errors
import keyturn.verifier
from keyturn.integrations.refusals import REFUSALS

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / "howto").rglob("*.md"),
    *(ROOT / "docs" / "reference").glob("*.md"),
]
ERRORS = {
    name
    for name, value in vars(keyturn.errors).items()
    if isinstance(value, type) and issubclass(value, keyturn.KeyturnError)
}
PROGRAMS = r"```python[^\n]*\n(.*?)```"
"""Examples in Python: to be run, or a file to be copied."""
SERVERS_OWN = re.compile(r"^\| `[A-Z]\w+` \| .*? \| +\| .*$|<!-- ask:.*?-->", re.MULTILINE | re.DOTALL)
"""Rows of the table of classes that no V marks as the verifier's, and questions of the search."""
NAMED_BY_OTHERS = {"NotFound", "Conflict"}
"""Words of HTTP that are no promise of ours."""


def promised() -> set[str]:
    """Return our errors that pages and the contract of the verifier name."""
    texts = [re.sub(SERVERS_OWN, "", page.read_text()) for page in PAGES]
    texts += [value.__doc__ or "" for value in (keyturn.Verifier, *vars(keyturn.Verifier).values())]
    named = {name for text in texts for name in re.findall(r"`?\b([A-Z][A-Za-z]+)\b", text)}
    return (named & ERRORS) - NAMED_BY_OTHERS


def test_fault_g4_every_promised_error_is_exported() -> None:
    """An error that a page or a docstring of the verifier names can be caught by its public name."""
    assert {"UnknownAudience", "CannotStart", "ScopeMissing"} <= promised()
    assert promised() <= set(keyturn.__all__)


def test_fault_g4_every_refusal_is_exported() -> None:
    """Whatever the integrations answer can be caught by a program that verifies by itself."""
    assert {error.__name__ for error in REFUSALS} <= set(keyturn.__all__)


def test_fault_g4_every_error_of_the_client_is_exported() -> None:
    """Whatever the client raises of its own can be caught by its public name."""
    raised = {
        name
        for module in pkgutil.iter_modules(keyturn.client.__path__, "keyturn.client.")
        for name, value in vars(importlib.import_module(module.name)).items()
        if isinstance(value, type)
        and issubclass(value, keyturn.KeyturnError)
        and value.__module__ == module.name
    }
    assert "ExchangeFailed" in raised
    assert raised <= set(keyturn.client.__all__)


def test_what_is_exported_is_there() -> None:
    """Each name of the public interface is one, once."""
    assert sorted(keyturn.__all__) == sorted(set(keyturn.__all__))
    assert all(hasattr(keyturn, name) for name in keyturn.__all__)


def test_each_public_name_is_what_type_checkers_see() -> None:
    """Whatever is imported when it is asked for is the object that the file imports for type checkers."""
    tree = ast.parse((ROOT / "src" / "keyturn" / "__init__.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    seen = {
        name.name: getattr(importlib.import_module(node.module), name.name)
        for node in imports
        if node.module is not None and node.module.startswith("keyturn")
        for name in node.names
    }
    assert {*seen, "__version__"} == set(keyturn.__all__)
    assert all(getattr(keyturn, name) is found for name, found in seen.items())


def test_what_is_not_public_is_not_there() -> None:
    """A name that is none of the public ones is missing as in any module, and `dir` lists those that are."""
    with pytest.raises(AttributeError, match="'keyturn' has no attribute 'Verifer'"):
        _ = keyturn.Verifer
    with pytest.raises(ImportError, match="Verifer"):
        exec("from keyturn import Verifer", {})
    assert set(keyturn.__all__) <= set(dir(keyturn))


def test_importing_keyturn_imports_nothing_else() -> None:
    """A program that only names `keyturn` waits for no package and no other module of ours."""
    program = "import sys, keyturn; print({n.partition('.')[0] for n in sys.modules} & {'msgspec', 'httpx', "
    program += "'cryptography'}, [n for n in sys.modules if n.startswith('keyturn.')])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "set() []\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_fault_g4_what_examples_import_is_public(page: Path) -> None:
    """Each example imports from `keyturn`, `keyturn.client` and `keyturn.integrations`, what is there."""
    for example in re.findall(PROGRAMS, page.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(example)):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("keyturn"):
                continue
            public = re.fullmatch(r"keyturn(\.client(\.requests)?|\.integrations\.\w+)?", node.module or "")
            assert public is not None, node.module
            module = importlib.import_module(node.module or "")
            for name in node.names:
                exported = getattr(module, "__all__", dir(module))
                assert name.name in exported, (node.module, name.name)


OURS = [*(ROOT / "src" / "keyturn" / "integrations").glob("*.py"), *PAGES]


@pytest.mark.parametrize("file", OURS, ids=lambda file: file.stem)
def test_nothing_of_ours_decides_by_the_permissions_of_the_owner(file: Path) -> None:
    """No integration and no example reads `permissions` of a caller: a narrowed key carries none of them."""
    text = file.read_text()
    programs = [text] if file.suffix == ".py" else re.findall(PROGRAMS, text, re.DOTALL)
    read = [
        node.lineno
        for program in programs
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Attribute) and node.attr == "permissions"
    ]
    assert read == []
