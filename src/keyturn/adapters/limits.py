"""How long, how much and how many: the limits of what a database may cost (rule O5)."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Production's values; tests take smaller ones. Times are in seconds."""

    step: float = 5.0
    """For each step of a test, and each of those that lead to a crawl."""
    test: float = 10.0
    """For a whole test, and for a rotation."""
    start: float = 30.0
    """Until a new process says that it runs."""
    statement: int = 60
    """For the statement of a crawl, as the server is asked to keep it."""
    crawl: float = 600.0
    objects: int = 2_000_000
    """Schemas, tables and columns of one crawl."""
    batch_objects: int = 5_000
    batch_characters: int = 5_000_000
    name_characters: int = 255
    comment_characters: int = 1_000
    columns: int = 5_000
    """Of one table; MySQL allows 4,096, the others that are crawled fewer."""
    changed_tables: int = 1_000
    """Read one by one where the database has no cheaper way; if more changed, all are read."""
    memory: int = 512 * 2**20
    """Bytes of address space of the process, of which the interpreter and drivers take a third."""
    message: int = 64 * 2**20
    """Bytes of one message of the process."""
