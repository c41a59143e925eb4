"""How a request body is described in OpenAPI, where the route reads it itself."""

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, RequestBody, Schema

from keyturn.web.bodies import FORM, JSON


def with_body(shape: Any, *, form: bool = False, required: bool = False, description: str) -> RequestBody:
    """Describe a body that is `shape`, as JSON and, if asked for, as a form."""
    return _body(shape, (JSON, FORM) if form else (JSON,), required=required, description=description)


def with_form(shape: Any, *, description: str) -> RequestBody:
    """Describe a body that is `shape`, as a form alone."""
    return _body(shape, (FORM,), required=True, description=description)


def _body(shape: Any, media_types: tuple[str, ...], *, required: bool, description: str) -> RequestBody:
    return RequestBody(
        content={media: OpenAPIMediaType(schema=_schema(shape)) for media in media_types},
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
