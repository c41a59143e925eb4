"""Connections to databases: their registry, what is behind them, who manages it, and the work on them.

registry      register, read, change, activate, delete; the secrets are sealed in `sealing`
access        who may do what, by permission or by a role on an object
objects       browsing and searching what the last crawl found
settings      what objects say, and inherit
targets       a connection as the process that reaches its database takes it
checks        the test, a step at a time
jobs          crawls, deletions and rotations, each done by the process that took it up
"""
