"""Databases that connections lead to: technologies, and how each is reached, tested, crawled and rotated.

    technologies ── validation        the fields of each technology, and values of them
    addresses ── tls ── ladder        from a name to a session, a step at a time
    postgresql  mysql  trino          one adapter for each protocol
    target_process ──pipe── worker    all of it runs in a process of its own

A database that a user names is hostile until shown otherwise: it may answer nothing, or without end, or ask
for files. So nothing here talks to one within the process of the server. Services call `target_process`.
"""
