"""Writes the file that `keyturn.documentation` reads: run with `python -m keyturn.documentation.build`."""
