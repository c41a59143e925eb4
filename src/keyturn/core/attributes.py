"""Changes of the attributes of a user or group: from what there is to what there is to be.

A name may stand without a value: then its values are none.
"""

from collections.abc import Callable

from keyturn.core.people import Attributes

AttributeChange = Callable[[Attributes], Attributes]


def with_attribute(held: Attributes, name: str, value: str | None) -> Attributes:
    """Return the attributes with one more; None gives the name alone, and changes nothing if it is there."""
    values = {*held.get(name, ()), *(() if value is None else (value,))}
    return {**held, name: tuple(sorted(values))}


def without_attribute(held: Attributes, name: str, value: str | None) -> Attributes:
    """Return the attributes without one; None takes the name with all its values."""
    if value is not None and value not in held.get(name, ()):
        return held
    left = tuple(one for one in held.get(name, ()) if value is not None and one != value)
    others = {key: values for key, values in held.items() if key != name}
    return {**others, name: left} if left else others


def difference(after: Attributes, before: Attributes) -> dict[str, list[str]]:
    """Return what `after` has and `before` has not: by name the values, none for a name alone."""
    values = {name: sorted(set(after[name]) - set(before.get(name, ()))) for name in sorted(after)}
    return {name: more for name, more in values.items() if more or name not in before}
