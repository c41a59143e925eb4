"""The words of the code are the field's: names that were given up do not come back."""

from __future__ import annotations

import ast
import re
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "keyturn"

GIVEN_UP = {
    "Ground": "Dependency",
    "holds": "is_valid",
    "Subject": "DependencyKind",
    "Remembered": "AnswerCache",
    "KnownCredential": "CachedVerdict",
    "Question": "CompiledQuery",
    "FailureBudget": "RateLimiter",
    "budget": "rate limit",
    "Departures": "Offboarding",
    "WhatStops": "OffboardingImpact",
    "heir": "successor",
    "hand_over": "transfer",
    "Place": "AccountList, slot, location",
    "Trace": "UseContext",
    "Announcement": "InstallationSettings",
    "proven_request": "dpop_target",
    "SecretsOut": "Redactor",
    "Sent": "SubmittedForm",
    "Asked": "RouteAccess",
    "ResourceRecord": "ApiRecord",
}
"""Each with the word to use."""


def names_of(tree: ast.AST) -> set[str]:
    """Every name that a module defines or uses."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.alias(name=name):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.keyword(arg=str(name)):
                found.add(name)
            case _:
                pass
    return found


def words_of(name: str) -> set[str]:
    """A name whole, and its parts."""
    return {name, name.strip("_"), *re.findall(r"[A-Z][a-z]+|[a-z]+", name)}


def test_no_given_up_word_names_anything() -> None:
    """A stranger who knows OAuth, HTTP caching and SQL reads the code without a dictionary."""
    found = {
        f"{path.relative_to(SOURCE)}: {name} (say {GIVEN_UP[word]})"
        for path in SOURCE.rglob("*.py")
        for name in names_of(ast.parse(path.read_text()))
        for word in words_of(name) & GIVEN_UP.keys()
    }
    assert not found
