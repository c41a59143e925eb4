"""The peers: other people's released packages, each set up as its own documentation recommends.

Nothing in here is imported by the run: the Python ones are started with `.venv-bench`, the others with
node. Each makes its storage and credentials in the directory that it is given, writes
`credentials.json` there, and serves. README.md says what each one checks.
"""
