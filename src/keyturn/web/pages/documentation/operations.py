"""The OpenAPI description as pages show it: domains, operations, fields and examples."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pprint import pformat
from textwrap import indent
from typing import Any
from urllib.parse import parse_qsl, urlencode

from markupsafe import Markup, escape

Schema = Mapping[str, Any]
METHODS = ("get", "post", "put", "patch", "delete")
KEY_PLACE = "API_KEY"
"""Stands in the example of a body for the caller's key."""
MAX_DEPTH = 3
"""How deep the fields of objects inside of objects are listed."""

_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a field of a body."""

    name: str
    place: str
    """`path`, `query`, `header` or `body`."""
    type: str
    is_required: bool
    note: Markup
    example: str
    """A value to begin with, for who tries it; may be empty."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with its status."""

    status: int
    title: str
    note: Markup
    shape: str | None
    """The name of its shape, which the page describes once; None without a body of JSON."""
    is_list: bool
    """Whether it is a list of that shape."""


@dataclass(frozen=True, slots=True)
class Shape:
    """An object that answers hold."""

    name: str
    fields: Sequence[Field]
    example: str


@dataclass(frozen=True, slots=True)
class Operation:
    """A method at a path, with the other paths of the same."""

    operation_id: str
    method: str
    path: str
    others: Sequence[str]
    """The paths of other generations."""
    summary: str
    description: Markup
    needs_credential: bool
    parameters: Sequence[Field]
    body: Sequence[Field]
    body_type: str | None
    body_example: str | None
    replies: Sequence[Reply]
    refusals: Sequence[Reply]
    request: str
    """The target of an example."""

    def as_curl(self, host: str) -> str:
        """Return the example for a shell."""
        parts = [f"curl {host}{self.request}"]
        if self.method != "GET" and self.body_example is None:
            parts[0] = f"curl -X {self.method} {host}{self.request}"
        if self.needs_credential:
            parts.append('-H "Authorization: $API_KEY"')
        if self.body_example is not None:
            if self.method != "POST":
                parts.append(f"-X {self.method}")
            option = "--json" if self.sends_json else "-d"
            parts.append(f"{option} {_in_shell(self.body_example)}")
        return " \\\n  ".join(parts)

    def as_python(self, host: str) -> str:
        """Return the example as a program."""
        arguments = [f'"{host}{self.request}"']
        if self.needs_credential:
            arguments.append('headers={"Authorization": os.environ["API_KEY"]}')
        if self.body_example is not None:
            given = json.loads(self.body_example) if self.sends_json else dict(parse_qsl(self.body_example))
            shown = pformat(given, sort_dicts=False).replace(repr(KEY_PLACE), 'os.environ["API_KEY"]')
            arguments.append(f"{'json' if self.sends_json else 'data'}={shown}")
        lines = "\n".join(indent(f"{one},", "    ") for one in arguments)
        imports = "import os\n\nimport httpx" if "os.environ" in lines else "import httpx"
        call = f'answer = httpx.request(\n    "{self.method}",\n{lines}\n)'
        return f"{imports}\n\n{call}\nprint(answer.raise_for_status().text)"

    def as_command(self) -> str | None:
        """Return the example for Keyturn's own command, which sends JSON alone; None for a form."""
        if self.body_example is None:
            return f"keyturn api {self.method} {self.request}"
        if not self.sends_json:
            return None
        return f"keyturn api {self.method} {self.request} --data {_in_shell(self.body_example)}"

    @property
    def sends_json(self) -> bool:
        """Whether its body is JSON, and no form."""
        return self.body_type is not None and "json" in self.body_type


@dataclass(frozen=True, slots=True)
class Domain:
    """The operations of one tag."""

    name: str
    path: str
    operations: list[Operation] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    """By name, in the order in which they are met."""


def domains_of(description: Schema, values: Mapping[str, str]) -> Sequence[Domain]:
    """Return the domains of an OpenAPI description, in its order.

    `values` stand in the paths of examples, by the name of their parameter, or by "PATH NAME" for that
    parameter of all paths that begin so.
    """
    reader = _Reader(description, values)
    domains: dict[str, Domain] = {}
    for tag, group in reader.groups():
        domain = domains.setdefault(tag, Domain(tag, tag.lower().replace(" ", "-")))
        operation = reader.operation(group)
        domain.operations.append(operation)
        for reply in operation.replies:
            if reply.shape is not None and reply.shape not in domain.shapes:
                domain.shapes[reply.shape] = reader.shape(reply.shape)
    return tuple(domains.values())


@dataclass(frozen=True, slots=True)
class _Described:
    """One operation of the description."""

    method: str
    path: str
    operation: Schema


class _Reader:
    def __init__(self, description: Schema, values: Mapping[str, str]) -> None:
        self._values = values
        self._paths: Schema = description["paths"]
        self._schemas: Schema = description.get("components", {}).get("schemas", {})

    def groups(self) -> Iterator[tuple[str, Sequence[_Described]]]:
        """Yield the operations with their tag: several paths and methods of one together."""
        found: dict[tuple[str, str, str], list[_Described]] = {}
        for path, item in self._paths.items():
            for method in METHODS:
                if method in item:
                    one = item[method]
                    key = one["tags"][0], one["summary"], one.get("description", "")
                    found.setdefault(key, []).append(_Described(method, path, one))
        for (tag, *_), group in found.items():
            # The shorter name is that of the route itself; an alias says so in its name.
            yield tag, sorted(group, key=lambda one: (_is_alias(one), one.path))

    def operation(self, group: Sequence[_Described]) -> Operation:
        """Return the first of these, with the paths of the others."""
        first, *others = group
        given = first.operation
        body_type, body = self._body(given)
        replies = [self._reply(int(status), one) for status, one in given.get("responses", {}).items()]
        parameters = [
            self._field(
                one["name"],
                one["in"],
                one.get("schema", {}),
                is_required=one.get("required", False),
                example=self._value_of(first.path, one["name"]),
            )
            for one in given.get("parameters", ())
        ]
        return Operation(
            operation_id=given["operationId"],
            method=first.method.upper(),
            path=first.path,
            others=[
                one.path if one.method == first.method else f"{one.method.upper()} {one.path}"
                for one in others
            ],
            summary=given["summary"],
            description=marked_up(given.get("description", "")),
            # Who introspects or revokes a token proves who they are (RFC 7662, 2.1; RFC 7009, 2.1).
            needs_credential=bool(given.get("security")) or "token" in (body or {}).get("required", ()),
            parameters=parameters,
            body=[] if body is None else list(self._fields(body)),
            body_type=body_type,
            body_example=None if body is None else self._body_example(body, body_type or ""),
            replies=[one for one in replies if one.status < HTTPStatus.BAD_REQUEST],
            refusals=[one for one in replies if one.status >= HTTPStatus.BAD_REQUEST],
            request=self._request(first.path, parameters),
        )

    def _body(self, operation: Schema) -> tuple[str | None, Schema | None]:
        content = operation.get("requestBody", {}).get("content", {})
        for media_type, described in content.items():
            return media_type, self._resolved(described.get("schema", {}))
        return None, None

    def _reply(self, status: int, response: Schema) -> Reply:
        schema = next(
            (one["schema"] for one in response.get("content", {}).values() if "schema" in one), None
        )
        phrase = HTTPStatus(status).phrase
        said = response.get("description", "")
        note = "" if said in {phrase, HTTPStatus(status).description} else said
        is_list = schema is not None and "items" in schema
        named = schema.get("items", schema) if schema is not None else {}
        shape = named["$ref"].rpartition("/")[2] if "$ref" in named else None
        return Reply(status, phrase, marked_up(note), shape, is_list)

    def shape(self, name: str) -> Shape:
        """Return the shape with this name."""
        schema = self._schemas[name]
        return Shape(name, list(self._fields(schema)), _as_json(self._example(schema)))

    def _fields(self, schema: Schema, prefix: str = "", depth: int = 1) -> Iterator[Field]:
        """Yield the fields of an object, and of objects in it."""
        if "items" in schema and "properties" not in schema:
            yield from self._fields(self._resolved(schema["items"]), f"{prefix}[].", depth)
            return
        required = schema.get("required", ())
        for name, given in schema.get("properties", {}).items():
            yield self._field(f"{prefix}{name}", "body", given, is_required=name in required)
            inner = self._inner(given)
            if inner is not None and depth < MAX_DEPTH:
                mark = "[]." if self._type(given).startswith("list") else "."
                yield from self._fields(inner, f"{prefix}{name}{mark}", depth + 1)

    def _value_of(self, path: str, name: str) -> str | None:
        """Return what stands in examples for a parameter of a path; None for anything of its type."""
        special = (
            value
            for place, value in self._values.items()
            if place.endswith(f" {name}") and path.startswith(place.partition(" ")[0])
        )
        return next(special, self._values.get(name))

    def _field(
        self, name: str, place: str, given: Schema, *, is_required: bool, example: str | None = None
    ) -> Field:
        schema, _ = self._without_null(given)
        notes = [*_bounds(schema), given.get("description") or schema.get("description") or ""]
        if place != "body":
            value = self._example(given) if place == "path" or "default" not in given else given["default"]
            example = example or (str(value) if place == "path" else "")
        return Field(
            name,
            place,
            self._type(given),
            is_required,
            marked_up(" ".join(one for one in notes if one)),
            example or "",
        )

    def _type(self, given: Schema) -> str:
        schema, is_nullable = self._without_null(given)
        if "enum" in schema:
            name = " or ".join(json.dumps(value) for value in schema["enum"])
        elif "oneOf" in schema:
            name = " or ".join(dict.fromkeys(self._type(one) for one in schema["oneOf"]))
        elif schema.get("type") == "array" or "items" in schema:
            name = f"list of {self._type(schema.get('items', {}))}"
        elif schema.get("format") == "date-time":
            name = "time"
        else:
            name = {"object": "object", "integer": "whole number"}.get(
                str(schema.get("type", "")), str(schema.get("type", "any"))
            )
        return f"{name} or null" if is_nullable else name

    def _inner(self, given: Schema) -> Schema | None:
        """Return the object whose fields are those of a field, None if it has none."""
        schema, _ = self._without_null(given)
        if "items" in schema:
            return self._inner(schema["items"])
        return schema if "properties" in schema else None

    def _without_null(self, given: Schema) -> tuple[Schema, bool]:
        """Return a schema without the choice of null, and whether there was one."""
        schema = self._resolved(given)
        choices = [one for one in schema.get("oneOf", ()) if one.get("type") != "null"]
        is_nullable = len(choices) < len(schema.get("oneOf", ()))
        if len(choices) == 1:
            return self._resolved(choices[0]), is_nullable
        return ({**schema, "oneOf": choices} if choices else schema), is_nullable

    def _resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def _body_example(self, body: Schema, media_type: str) -> str:
        example = self._example(body)
        return _as_json(example) if "json" in media_type else urlencode(example)

    def _example(self, given: Schema) -> Any:
        schema, is_nullable = self._without_null(given)
        if chosen := schema.get("examples") or schema.get("enum"):
            return chosen[0]
        if "properties" in schema:
            return {name: self._example(one) for name, one in schema["properties"].items()}
        if "items" in schema:
            return [self._example(schema["items"])]
        if schema.get("oneOf"):
            return self._example(schema["oneOf"][0])
        if is_nullable:
            return None
        return {"integer": 17, "boolean": True, "number": 1, "object": {}}.get(str(schema.get("type")), "…")

    @staticmethod
    def _request(path: str, parameters: Sequence[Field]) -> str:
        for one in parameters:
            if one.place == "path":
                path = path.replace(f"{{{one.name}}}", one.example)
        return path


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _in_shell(body: str) -> str:
    """Return a body as an argument for a shell, which puts the reader's key into it."""
    if KEY_PLACE not in body:
        return shlex.quote(body)
    escaped = re.sub(r'[\\"`$]', r"\\\g<0>", body)
    return f'"{escaped.replace(KEY_PLACE, f"${KEY_PLACE}")}"'


def marked_up(text: str) -> Markup:
    """Return a description as HTML: its paragraphs, and code between backquotes."""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    return Markup("\n").join(
        Markup("<p>{}</p>").format(
            Markup("").join(
                Markup("<code>{}</code>").format(piece) if at % 2 else escape(piece)
                for at, piece in enumerate(_CODE.split(paragraph))
            )
        )
        for paragraph in paragraphs
    )


def _bounds(schema: Schema) -> Iterator[str]:
    """Yield the bounds of a value, in words."""
    low, high = schema.get("minLength"), schema.get("maxLength")
    if high is not None:
        yield f"{low} to {high} characters." if low else f"At most {high} characters."
    low, high = schema.get("minimum"), schema.get("maximum")
    if high is not None and low is not None:
        yield f"{_number(low)} to {_number(high)}."
    low, high = schema.get("minItems"), schema.get("maxItems")
    if high is not None:
        yield f"{low} to {high} of them." if low else f"At most {high} of them."
    if schema.get("default") not in (None, ""):
        yield f"Default: `{schema['default']}`."


def _number(value: float) -> float | int:
    """Return a number without a fraction that says nothing."""
    return int(value) if value == int(value) else value


def _is_alias(one: _Described) -> bool:
    """Return whether this is another path or method of an operation, by its name or its age."""
    return one.operation["operationId"].endswith(("_short_path", "_by_post")) or one.path.startswith(
        "/services"
    )
