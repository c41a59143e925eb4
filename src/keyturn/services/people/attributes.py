"""Attributes as people give them: names in lower case, values as they are."""

from collections.abc import Iterable, Mapping

from keyturn.core.attributes import AttributeChange, with_attribute, without_attribute
from keyturn.errors import InvalidInput
from keyturn.services.text import checked_text

ATTRIBUTE_MAX_CHARACTERS = 254
Attribute = tuple[str, str | None]
"""A name and a value; None for the name alone."""


def change_of(attribute: Attribute, *, is_given: bool) -> AttributeChange:
    """Return the change that gives an attribute or takes it; raise `InvalidInput`."""
    name, value = attribute
    checked = _checked_name(name), None if value is None else _checked_value(value)
    change = with_attribute if is_given else without_attribute
    return lambda held: change(held, *checked)


def change_to(attributes: Mapping[str, Iterable[str]]) -> AttributeChange:
    """Return the change that puts these attributes in the place of all; raise `InvalidInput`."""
    wanted: dict[str, set[str]] = {}
    for name, values in attributes.items():
        wanted.setdefault(_checked_name(name), set()).update(map(_checked_value, values))
    return lambda _held: {name: tuple(sorted(values)) for name, values in wanted.items()}


def _checked_name(name: str) -> str:
    return _checked("key", name.lower())


def _checked_value(value: str) -> str:
    return _checked("value", value)


def _checked(field: str, text: str) -> str:
    checked = checked_text(field, text, max_characters=ATTRIBUTE_MAX_CHARACTERS)
    if checked is None:
        raise InvalidInput("key", "An attribute has a name and a value.")
    return checked
