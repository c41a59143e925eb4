"""Keys that people make up are not imported, and those that were drawn at random are (rule K1)."""

from __future__ import annotations

import base64
import json
import random
import string
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.core.api_key import ApiKeyFormat
from keyturn.errors import InvalidInput
from keyturn.services.keys.imported_keys import check_not_made_up
from keyturn.verifying.origin import COMMAND_LINE
from tests.people import add_person, caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.composition import Services

VECTORS = Path(__file__).parents[2] / "vectors" / "foreign_keys.json"
WELL_FORMED = [
    vector for vector in json.loads(VECTORS.read_text())["vectors"] if vector["outcome"] != "refused"
]
BASE62 = string.ascii_letters + string.digits
RANDOM_KEYS = 10_000
FORMS: dict[str, Callable[[random.Random], str]] = {
    "32 hexadecimal digits": lambda draw: draw.randbytes(16).hex(),
    "a UUID": lambda draw: str(uuid.UUID(int=draw.getrandbits(128), version=4)),
    "base64url of 24 bytes": lambda draw: base64.urlsafe_b64encode(draw.randbytes(24)).decode(),
    "base64url of 16 bytes": lambda draw: base64.urlsafe_b64encode(draw.randbytes(16)).decode().rstrip("="),
    "GitHub": lambda draw: "ghp_" + "".join(draw.choices(BASE62, k=36)),
    "Stripe": lambda draw: "sk_live_" + "".join(draw.choices(BASE62, k=24)),
    "GitLab": lambda draw: "glpat-" + "".join(draw.choices(BASE62 + "-_", k=20)),
    "small letters and digits": lambda draw: "".join(
        draw.choices(string.ascii_lowercase + string.digits, k=26)
    ),
    "base32": lambda draw: base64.b32encode(draw.randbytes(20)).decode(),
    "behind a name": lambda draw: "acme-production-" + draw.randbytes(16).hex(),
}


@pytest.mark.parametrize("vector", WELL_FORMED, ids=[vector["name"] for vector in WELL_FORMED])
def test_fault_b4_each_vector_has_its_outcome(vector: dict[str, Any]) -> None:
    """Words, names, dates and patterns are refused, with what to do and without the key; others are taken."""
    if vector["outcome"] == "imported":
        check_not_made_up(vector["text"])
        return
    with pytest.raises(InvalidInput, match="drawn at random") as refused:
        check_not_made_up(vector["text"])
    assert vector["text"] not in str(refused.value)


def test_fault_b4_random_keys_are_taken() -> None:
    """Of ten thousand random keys, in the forms that issuers use, none is refused; the draw is seeded."""
    draw, key_format = random.Random(1), ApiKeyFormat()
    for make in FORMS.values():
        for _ in range(RANDOM_KEYS // len(FORMS)):
            text = make(draw)
            check_not_made_up(text)
            key_format.import_foreign_key(text)


def test_fault_b4_import_refuses_what_a_person_can_guess(services: Services) -> None:
    """Nothing is stored of a key that was made up; a random one opens from then on."""
    user_id = add_person(services).user_id
    for text in ("mycompanyproductionkey", "correcthorsebatterystaple"):
        with pytest.raises(InvalidInput, match="can be guessed"):
            services.keys.import_foreign(user_id, COMMAND_LINE, text=text, name=None, lifetime=None)
    assert services.keys.list_of(user_id).items == ()
    text = "9f86d081884c7d659a2feaa0c55ad015"
    services.keys.import_foreign(user_id, COMMAND_LINE, text=text, name=None, lifetime=None)
    assert caller(services, text).user_id == user_id
