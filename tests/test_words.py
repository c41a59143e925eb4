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


VAGUE = re.compile(r"(?:\A|[.:]\s+|\n\n\s*)(What|Whoever|Whom|Who) (?!am I)[^?]*?(?:\.|\Z)")
"""A sentence whose subject is a clause: "What is kept", "Whoever asks"."""


def test_no_sentence_has_a_clause_for_a_subject() -> None:
    """Docstrings and messages say who does what, in the order subject, verb, object."""
    found = {
        f"{path.relative_to(SOURCE)}:{node.lineno}: {sentence.group(0).strip()[:60]}"
        for path in SOURCE.rglob("*.py")
        if "versions" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) > 20
        for sentence in VAGUE.finditer(node.value)
    }
    assert not found


NO_NOUN = re.compile(r"\b(?:is|are) no (?!longer\b|more\b|such\b)[a-z]")
"""English says "is not a key" and "is not JSON"; "there is no key" says something else."""


def test_messages_say_what_something_is_not() -> None:
    """No message says that something "is no key"."""
    found = {
        f"{path.relative_to(SOURCE)}:{node.lineno}: {node.value[:60]}"
        for path in SOURCE.rglob("*.py")
        for node in messages_in(ast.parse(path.read_text()))
        if NO_NOUN.search(re.sub(r"(?i)there (?:is|are) no", "", node.value))
    }
    assert not found


def messages_in(tree: ast.Module) -> list[ast.Constant]:
    """Texts that are no docstrings and no notes below a name."""
    notes = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(body := getattr(node, "body", None), list)
        for statement in body
        if isinstance(statement, ast.Expr)
    }
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in notes
    ]
