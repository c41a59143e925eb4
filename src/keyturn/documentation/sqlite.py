"""The SQLite of this package: the server's if it is installed, which is newer than that of many Pythons."""

try:
    import pysqlite3 as sqlite3
except ImportError:  # While a wheel is built, nothing of the server is there.
    import sqlite3

__all__ = ["sqlite3"]
