"""Connections, objects and jobs as JSON (http-api/connections.md, "Connections")."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from keyturn.adapters.ladder import StepResult
from keyturn.adapters.technologies import Field, Technology
from keyturn.adapters.validation import AUTHENTICATION_TYPE, TECHNOLOGY, Value, fields_of, get_technology
from keyturn.core.connections import ConnectionRecord, ConnectionState, JobRecord, ObjectRole, RoleHolder
from keyturn.core.times import wire_time
from keyturn.services.connections.objects import Location
from keyturn.services.connections.password_rotation import Rotated
from keyturn.web.api.views import PersonView, optional_time


class ConnectionView(msgspec.Struct, frozen=True, rename="camel"):
    """A connection without its secrets."""

    connection_key: str
    connection: Mapping[str, Any]
    created_at: str
    created_by: int
    creator: PersonView
    updated_at: str
    updated_by: int
    updater: PersonView
    native_integration_id: int | None

    @classmethod
    def of(cls, record: ConnectionRecord) -> "ConnectionView":
        """Show a record."""
        return cls(
            connection_key=record.connection_key,
            connection=record.details,
            created_at=wire_time(record.created_at),
            created_by=record.created_by,
            creator=PersonView.of(record.creator),
            updated_at=wire_time(record.updated_at),
            updated_by=record.updated_by,
            updater=PersonView.of(record.updater),
            native_integration_id=record.native_integration_id,
        )


class PreviewView(msgspec.Struct, frozen=True, rename="camel"):
    """A connection in the preview's form, with `[REDACTED]` for each secret."""

    connection_key: str
    technology: str
    state: str
    state_reason: str | None
    client_configuration: Mapping[str, Any]
    crawled_at: str | None
    crawl_every_hours: int | None

    @classmethod
    def of(cls, record: ConnectionRecord, values: Mapping[str, Value]) -> "PreviewView":
        """Show a record with its values, redacted."""
        return cls(
            connection_key=record.connection_key,
            technology=record.technology,
            state=record.state.value,
            state_reason=record.state_reason,
            client_configuration=_with_credential(values),
            crawled_at=optional_time(record.crawled_at),
            crawl_every_hours=record.crawl_every_hours,
        )


def _with_credential(values: Mapping[str, Value]) -> dict[str, Any]:
    """Return the fields of the technology, and those of the way to sign in as `credential`."""
    shown = {name: value for name, value in values.items() if name != TECHNOLOGY}
    chosen = shown.get(AUTHENTICATION_TYPE)
    if chosen is None:
        return shown
    own = {field.name for field in get_technology(values[TECHNOLOGY]).fields}
    names = {field.name for field in fields_of(get_technology(values[TECHNOLOGY]), str(chosen))} - own
    credential = {name: shown.pop(name) for name in (AUTHENTICATION_TYPE, *sorted(names)) if name in shown}
    return {**shown, "credential": credential}


class HolderView(msgspec.Struct, frozen=True):
    """A user or a group that has a role."""

    type: str
    id: int

    @classmethod
    def of(cls, holder: RoleHolder) -> "HolderView":
        """Show one."""
        if holder.user_id is not None:
            return cls("user", holder.user_id)
        return cls("group", holder.group_id or 0)


class FlagView(msgspec.Struct, frozen=True, rename="camel"):
    """A setting that holds for an object, inherited or its own."""

    value: bool
    has_descendants_with_overrides: bool


class HoldersView(msgspec.Struct, frozen=True, rename="camel"):
    """The holders of a role on an object, inherited or its own."""

    value: list[HolderView]
    has_descendants_with_overrides: bool


class SettingsView(msgspec.Struct, frozen=True, rename="camel"):
    """The settings of an object."""

    is_active: FlagView
    activate_new_children: FlagView
    data_owners: HoldersView
    infrastructure_admins: HoldersView


class ColumnView(msgspec.Struct, frozen=True):
    """A column of a table."""

    name: str
    type: str
    comment: str | None


class ObjectView(msgspec.Struct, frozen=True, rename="camel"):
    """A connection, or an object behind it, as a list has it."""

    object_path: list[str]
    technology: str
    kind: str
    state: str
    comment: str | None
    column_count: int
    overrides: list[str]

    @classmethod
    def of(cls, place: Location) -> "ObjectView":
        """Show a place."""
        return cls(**_fields_of(place))


class ObjectDetailsView(msgspec.Struct, frozen=True, rename="camel"):
    """A connection, or an object behind it, with what holds for it."""

    object_path: list[str]
    technology: str
    kind: str
    state: str
    comment: str | None
    column_count: int
    overrides: list[str]
    settings: SettingsView
    columns: list[ColumnView]

    @classmethod
    def of(
        cls, place: Location, columns: Iterable[tuple[str, str, str | None]], below: Mapping[str, int]
    ) -> "ObjectDetailsView":
        """Show a place; `below` is how many objects below it say something of each setting."""
        settings = place.settings

        def holders(role: ObjectRole) -> HoldersView:
            some = sorted(map(HolderView.of, settings.roles[role]), key=lambda one: (one.type, one.id))
            return HoldersView(some, below[role.value] > 0)

        return cls(
            **_fields_of(place),
            settings=SettingsView(
                FlagView(settings.is_active, below["is_active"] > 0),
                FlagView(settings.activates_new_children, below["activates_new_children"] > 0),
                holders(ObjectRole.DATA_OWNER),
                holders(ObjectRole.INFRASTRUCTURE_ADMIN),
            ),
            columns=[ColumnView(*one) for one in columns],
        )


def _fields_of(place: Location) -> dict[str, Any]:
    said, found = place.settings.said, place.found
    is_active = place.settings.is_active and place.connection.state is not ConnectionState.INACTIVE
    overrides = [role.value for role in said.roles]
    overrides += ["isActive"] if said.is_active is not None else []
    overrides += ["activateNewChildren"] if said.activates_new_children is not None else []
    return {
        "object_path": [place.connection.connection_key, *place.path],
        "technology": place.connection.technology,
        "kind": "connection" if found is None else found.kind,
        "state": "active" if is_active else "inactive",
        "comment": None if found is None else found.comment,
        "column_count": 0 if found is None else found.column_count,
        "overrides": sorted(overrides),
    }


class ObjectList(msgspec.Struct, frozen=True):
    """A page of objects. `count` stops at 10,001."""

    count: int
    hits: list[ObjectView]


class DeletedObject(msgspec.Struct, frozen=True, rename="camel"):
    """The path that was deleted, and how many objects were directly below it."""

    object_path: list[str]
    child_count: int


class StepView(msgspec.Struct, frozen=True):
    """A step of a test. `finding` names what is wrong; `detail` says what to do."""

    step: str
    state: str
    milliseconds: int
    finding: str | None
    detail: str

    @classmethod
    def of(cls, result: StepResult) -> "StepView":
        """Show a step."""
        finding = None if result.finding is None else result.finding.value
        return cls(result.step.value, result.state.value, result.milliseconds, finding, result.detail)


class CheckView(msgspec.Struct, frozen=True, rename="camel"):
    """How a test ended."""

    is_healthy: bool
    steps: list[StepView]


class RotationView(msgspec.Struct, frozen=True, rename="camel"):
    """How a rotation ended; if nothing was changed, why."""

    is_changed: bool
    reason: str | None

    @classmethod
    def of(cls, rotated: Rotated) -> "RotationView":
        """Show an outcome."""
        return cls(rotated.is_changed, rotated.reason)


class JobView(msgspec.Struct, frozen=True, rename="camel"):
    """A job. `done` of `expected` objects were found so far."""

    id: str
    type: str
    state: str
    object_path: list[str]
    created_at: str
    created_by: int | None
    started_at: str | None
    ended_at: str | None
    done: int
    expected: int | None
    output: Mapping[str, Any]

    @classmethod
    def of(cls, record: JobRecord) -> "JobView":
        """Show a job."""
        return cls(
            id=record.job_id,
            type=record.type.value,
            state=record.state.value,
            object_path=[record.connection_key, *record.path],
            created_at=wire_time(record.created_at),
            created_by=record.created_by,
            started_at=optional_time(record.started_at),
            ended_at=optional_time(record.ended_at),
            done=record.done,
            expected=record.expected,
            output=record.output,
        )


class JobPage(msgspec.Struct, frozen=True):
    """A page of jobs, and the `offset` of the next one; null for none."""

    jobs: list[JobView]
    next: str | None


class JobStatus(msgspec.Struct, frozen=True):
    """The state of a job and what came of it."""

    id: str
    state: str
    output: Mapping[str, Any]


class TaskView(msgspec.Struct, frozen=True, rename="camel"):
    """A task that was accepted; its id is that of a job."""

    task_id: str
    message: str


class MemberView(msgspec.Struct, frozen=True, rename="camel"):
    """A member of a field that is an object."""

    name: str
    label: str
    type: str
    required: bool
    is_secret: bool
    default: str | int | bool | None
    help: str
    choices: list[str]

    @classmethod
    def of(cls, field: Field) -> "MemberView":
        """Show a member."""
        return cls(**_fields_of_field(field))


class FieldView(msgspec.Struct, frozen=True, rename="camel"):
    """A field of a technology. `fields` are the members of an object."""

    name: str
    label: str
    type: str
    required: bool
    is_secret: bool
    default: str | int | bool | None
    help: str
    choices: list[str]
    fields: list[MemberView]

    @classmethod
    def of(cls, field: Field) -> "FieldView":
        """Show a field."""
        return cls(**_fields_of_field(field), fields=[MemberView.of(one) for one in field.fields])


def _fields_of_field(field: Field) -> dict[str, Any]:
    return {
        "name": field.name,
        "label": field.label,
        "type": field.type.value,
        "required": field.required,
        "is_secret": field.is_secret,
        "default": field.default,
        "help": field.help,
        "choices": list(field.choices),
    }


class AuthenticationTypeView(msgspec.Struct, frozen=True):
    """A way to sign in, with the fields that it adds."""

    name: str
    label: str
    fields: list[FieldView]


class TechnologyView(msgspec.Struct, frozen=True, rename="camel"):
    """A technology of connections, and how much Keyturn does with it."""

    name: str
    tier: int
    support: str
    hierarchy: list[str]
    rotates: bool
    fields: list[FieldView]
    authentication_types: list[AuthenticationTypeView]

    @classmethod
    def of(cls, technology: Technology) -> "TechnologyView":
        """Show a technology."""
        return cls(
            technology.name,
            technology.tier.value,
            SUPPORT[technology.tier.value],
            list(technology.hierarchy),
            technology.rotates,
            [FieldView.of(one) for one in technology.fields],
            [
                AuthenticationTypeView(one.name, one.label, [FieldView.of(field) for field in one.fields])
                for one in technology.authentication_types
            ],
        )


SUPPORT = {
    1: "Tested, crawled and rotated. Run against the real server in CI.",
    2: "Tested and crawled. Expected to work, not run against the vendor's server.",
    3: "Registered, encrypted and read back. Not tested, and not crawled.",
}
"""The meaning of each tier."""
