"""The folding of `core.folding` inside a question to the database."""

from typing import Any

from sqlalchemy import String, cast, func, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from keyturn.core.folding import FOLDS

_KEPT = "".join(letter for letter, plain in FOLDS.items() if plain)
_PLAIN = "".join(plain for plain in FOLDS.values() if plain)
_DROPPED = "".join(letter for letter, plain in FOLDS.items() if not plain)


class folded(GenericFunction[str]):  # noqa: N801 - named as the function in SQL
    """A column in small letters without accents. Each connection to SQLite knows the function."""

    type = String()
    inherit_cache = True


@compiles(folded, "postgresql")
def _translated(element: Any, compiler: Any, **options: Any) -> str:
    """Fold with what PostgreSQL has without an extension."""
    (column,) = element.clauses
    table: tuple[Any, Any] = (literal_column(f"'{_KEPT}{_DROPPED}'"), literal_column(f"'{_PLAIN}'"))
    return str(compiler.process(func.translate(func.lower(cast(column, String)), *table), **options))
