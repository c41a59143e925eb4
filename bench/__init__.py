"""The benchmark: Keyturn beside a bare ASGI application and its peers, in one run on one machine.

`.venv/bin/python -m bench` from the root of the repository. README.md says what is measured and how.
"""
