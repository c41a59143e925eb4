"""The documentation of the product, served and searched without a network: pages, sections, answers.

`documentation.build` reads the Markdown of `docs/` and writes one SQLite file with the pages, as HTML and as
Markdown, and the full-text index. The rest of this package reads that file, and needs nothing but SQLite.
"""
