"""Hands the vectors to the tests: a test that asks for `api_key_vector` runs once for each of them."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keyturn.core.access_token import AccessTokenFormat, KeyRing, SigningKey

TESTS = Path(__file__).parent.parent
VECTORS = TESTS / "vectors"
CREDENTIALS_PAGE = TESTS.parent / "docs" / "reference" / "credentials.md"

VECTOR_FILES = {
    "access_token_vector": "access_tokens.json",
    "api_key_vector": "api_keys.json",
    "authorization_vector": "authorization.json",
    "foreign_key_vector": "foreign_keys.json",
}


def read_vectors(file_name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((VECTORS / file_name).read_text(encoding="utf-8"))
    return content


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, file_name in VECTOR_FILES.items():
        if fixture in metafunc.fixturenames:
            vectors = read_vectors(file_name)["vectors"]
            names = [f"{vector['requirement']}: {vector['name']}" for vector in vectors]
            metafunc.parametrize(fixture, vectors, ids=names)


@pytest.fixture(scope="session")
def signing_keys() -> dict[str, Any]:
    """Return the private JWKs that the vectors were signed with."""
    return read_vectors("signing_keys.json")


@pytest.fixture(scope="session")
def es256(signing_keys: dict[str, Any]) -> SigningKey:
    return SigningKey.from_jwk(signing_keys["es256"])


@pytest.fixture(scope="session")
def eddsa(signing_keys: dict[str, Any]) -> SigningKey:
    return SigningKey.from_jwk(signing_keys["eddsa"])


@pytest.fixture(scope="session")
def ring(es256: SigningKey, eddsa: SigningKey) -> KeyRing:
    """Return a ring that signs with ES256 and verifies both algorithms."""
    return KeyRing.of(es256, [eddsa])


@pytest.fixture(scope="session")
def token_format() -> AccessTokenFormat:
    """Return what the tokens in the vectors must say."""
    file = read_vectors("access_tokens.json")
    return AccessTokenFormat(file["issuer"], file["audience"], timedelta(seconds=file["max_life"]))


@pytest.fixture(scope="session")
def now() -> datetime:
    """Return the time at which the vectors are judged."""
    return datetime.fromtimestamp(read_vectors("access_tokens.json")["now"], UTC)


@pytest.fixture(scope="session")
def documented() -> Callable[[str], str]:
    """Return a function that gives the first code block under a heading of the credentials page."""
    page = CREDENTIALS_PAGE.read_text(encoding="utf-8")

    def block(heading: str) -> str:
        found = re.search(rf"^#+ {re.escape(heading)}\n((?:(?!#).*\n)*)", page, re.MULTILINE)
        assert found is not None, f"the page has no heading {heading!r}"
        code = re.search(r"```\w*\n(.*?)\n```\n", found[1], re.DOTALL)
        assert code is not None, f"the page has no code block under {heading!r}"
        return code[1]

    return block
