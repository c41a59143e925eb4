"""`python -m keyturn.documentation.build [DOCS [FILE]]`: make the file from a checkout's `docs/`."""

import sys
from pathlib import Path

from keyturn.documentation.build.index import build
from keyturn.documentation.build.sources import DocumentationError

PACKAGE = Path(__file__).parent.parent


def main(arguments: list[str]) -> None:
    """Write the file; end with what is wrong if a page is not as it must be."""
    source = Path(arguments[0]) if arguments else PACKAGE.parents[2] / "docs"
    target = Path(arguments[1]) if len(arguments) > 1 else PACKAGE / "documentation.db"
    try:
        build(source, target)
    except DocumentationError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
