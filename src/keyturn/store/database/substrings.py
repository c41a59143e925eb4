"""The search for a part of a text, as databases can answer it from an index that holds the text."""

from typing import Any

from sqlalchemy import Integer
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction


class instr(GenericFunction[int]):  # noqa: N801 - named as the function in SQL
    """The place of a text in another, from 1, and 0 if it is not there.

    Twice as fast as LIKE, of which PostgreSQL also believes that it leaves few rows: it then sorts all that
    match instead of reading the first in the order of an index.
    """

    type = Integer()
    inherit_cache = True


@compiles(instr, "postgresql")
def _strpos(element: Any, compiler: Any, **options: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **options)})"
