"""Nothing outside of `identity/` knows which identity providers there are."""

from __future__ import annotations

import ast
from pathlib import Path

import keyturn

SOURCE = Path(keyturn.__file__).parent
IDENTITY = SOURCE / "services" / "people" / "identity"


def test_only_identity_knows_the_built_in_provider() -> None:
    """No module outside names the built-in iamid: it takes it from a record or from the registry."""
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if not path.is_relative_to(IDENTITY)
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Constant) and node.value == "bim")
        or (isinstance(node, ast.alias) and node.name == "BUILT_IN_IAM")
    }
    assert not found
