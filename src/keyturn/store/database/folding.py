"""The folding of `core.folding` inside a question to the database."""

from typing import Any

from sqlalchemy import String, case, cast, func, literal_column, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from keyturn.core import folding
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
    """Fold with what PostgreSQL has without an extension.

    It looks for each letter in the whole table, which takes a tenth of a millisecond for a name. A text of
    ASCII, which has as many bytes as letters, needs no table.
    """
    (column,) = element.clauses
    text = cast(column, String)
    table: tuple[Any, Any] = (literal_column(f"'{_KEPT}{_DROPPED}'"), literal_column(f"'{_PLAIN}'"))
    is_ascii = func.octet_length(text) == func.char_length(text)
    folds = case((is_ascii, func.lower(text)), else_=func.translate(func.lower(text), *table))
    return str(compiler.process(folds, **options))


def contains_folded(text: str, *columns: Any) -> Any:
    """Return whether one of these columns has the text as a part, where case and accents do not matter."""
    part = folding.folded(text)
    return or_(*(folded(column).contains(part, autoescape=True) for column in columns))


def in_order(column: Any, number: Any, *, is_descending: bool) -> list[Any]:
    """Return the order by a column: what lacks a value comes last, and `number` decides among equals.

    So pages neither overlap nor miss a row.
    """
    return [(column.desc() if is_descending else column.asc()).nulls_last(), number]
