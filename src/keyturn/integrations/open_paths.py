"""Which paths of a protected service anybody may ask: those that are written down, and no others."""

from collections.abc import Iterable

from keyturn.core.paths import is_unambiguous


class OpenPaths:
    """Paths that are open by their exact name, or by a prefix of whole segments such as `/static/`.

    Raises `ValueError` for a name without its slash in front, and for a prefix without both.
    """

    def __init__(self, names: Iterable[str] = (), prefixes: Iterable[str] = ()) -> None:
        if isinstance(names, str) or isinstance(prefixes, str):
            raise TypeError("give open paths and prefixes as lists")
        self._names = frozenset(names)
        self._prefixes = tuple(prefixes)
        for name in self._names:
            if not name.startswith("/"):
                raise ValueError(f"{name!r} is not a path: it begins with a slash.")
        for prefix in self._prefixes:
            # Without its end, "/health" would open "/healthcare" too; and "/" alone is everything.
            if len(prefix) < 3 or not (prefix.startswith("/") and prefix.endswith("/")):
                raise ValueError(f"{prefix!r} is not a prefix: it is like /static/, with both slashes.")

    def __contains__(self, path: str) -> bool:
        """Return whether anybody may ask `path`, decoded once, without its query.

        Under a prefix a path must mean itself: one with `..`, `//` or a second encoding in it may lead
        elsewhere in what stands behind, and is closed.
        """
        if path in self._names:
            return True
        if not path.startswith(self._prefixes):
            return False
        return is_unambiguous(path)
