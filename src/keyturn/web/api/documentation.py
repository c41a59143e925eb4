"""How a request body is described in OpenAPI, where the route reads it itself."""

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, RequestBody, Schema

from keyturn.web.bodies import FORM, JSON


def with_body(
    shape: Any, *, example: Any, form: bool = False, required: bool = False, description: str
) -> RequestBody:
    """Describe a body that is `shape`, as JSON and, if asked for, as a form.

    `example` is such a body as a client sends it. Raise `msgspec.ValidationError` if it is none.
    """
    media_types = (JSON, FORM) if form else (JSON,)
    return _body(shape, media_types, example, required=required, description=description)


def with_form(shape: Any, *, example: Mapping[str, str], description: str) -> RequestBody:
    """Describe a body that is `shape`, as a form alone; `example` is as for `with_body`."""
    return _body(shape, (FORM,), example, required=True, description=description)


def _body(
    shape: Any, media_types: tuple[str, ...], example: Any, *, required: bool, description: str
) -> RequestBody:
    msgspec.convert(example, shape)
    schema = _schema(shape)
    schema.examples = [example]
    return RequestBody(
        content={media: OpenAPIMediaType(schema=schema) for media in media_types},
        description=description,
        required=required,
    )


def _schema(shape: Any) -> Schema:
    """Return the JSON schema of a type, with those of the structs in it in their places."""
    ((found,), components) = msgspec.json.schema_components([shape], ref_template="{name}")
    return _from_json_schema(found, components)


def _from_json_schema(found: Mapping[str, Any], components: Mapping[str, Any]) -> Schema:
    if "$ref" in found:
        return _from_json_schema(components[found["$ref"]], components)
    names = {
        "maxLength": "max_length",
        "minLength": "min_length",
        "additionalProperties": "additional_properties",
        "minItems": "min_items",
        "maxItems": "max_items",
        "anyOf": "one_of",
    }
    values = {names.get(name, name): value for name, value in found.items() if name != "title"}
    if "properties" in values:
        values["properties"] = {
            name: _from_json_schema(value, components) for name, value in values["properties"].items()
        }
    if "items" in values:
        values["items"] = _from_json_schema(values["items"], components)
    if "one_of" in values:
        values["one_of"] = [_from_json_schema(value, components) for value in values["one_of"]]
    return Schema(**values)
