"""How a request body is described in OpenAPI, where the route reads it itself."""

from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema

from keyturn.web.api.bodies import FORM, JSON


def with_body(
    shape: type[msgspec.Struct], *, form: bool = False, required: bool = False, description: str
) -> type[Operation]:
    """Return an operation whose body is `shape`, as JSON and, if asked for, as a form."""
    body = RequestBody(
        content={
            media: OpenAPIMediaType(schema=_schema(shape)) for media in ((JSON, FORM) if form else (JSON,))
        },
        description=description,
        required=required,
    )

    @dataclass
    class OperationWithBody(Operation):
        def __post_init__(self) -> None:
            self.request_body = body

    return OperationWithBody


def _schema(shape: type[msgspec.Struct]) -> Schema:
    """Return the JSON schema of a flat struct."""
    (_, components) = msgspec.json.schema_components([shape])
    found: dict[str, Any] = next(iter(components.values()))
    return _from_json_schema(found)


def _from_json_schema(found: dict[str, Any]) -> Schema:
    names = {
        "maxLength": "max_length",
        "minLength": "min_length",
        "additionalProperties": "additional_properties",
        "anyOf": "one_of",
    }
    values = {names.get(name, name): value for name, value in found.items() if name not in {"title", "$ref"}}
    if "properties" in values:
        values["properties"] = {
            name: _from_json_schema(value) for name, value in values["properties"].items()
        }
    if "one_of" in values:
        values["one_of"] = [_from_json_schema(value) for value in values["one_of"]]
    return Schema(**values)
