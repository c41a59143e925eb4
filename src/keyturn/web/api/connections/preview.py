"""Connections in the form of the vendor's preview.

See (http-api/connections.md, "Read a connection with its state").
"""

from http import HTTPStatus
from typing import Annotated

from litestar import Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter, RawBody

from keyturn.core.connections import ConnectionRecord
from keyturn.core.permissions import Permission
from keyturn.services.connections.sealing import merged, redacted
from keyturn.web.api.connections.bodies import ClientConfigurationBody
from keyturn.web.api.connections.views import PreviewView, TaskView
from keyturn.web.api.documentation import with_body
from keyturn.web.bodies import get_json
from keyturn.web.requests import AnyRequest, InjectedCall, in_thread
from keyturn.web.responses import CONFLICT, FORBIDDEN
from keyturn.web.routes import needs, route

_CONNECTION = "/api/connections/{connection_key:str}"
_TAG = "Connections"
_MANAGES = needs(Permission.APPLICATION_ADMIN, without="connections of which you are an infrastructure admin")

IsDryRun = Annotated[bool, QueryParameter(name="dryRun", description="Check the change, and make none.")]
IsForced = Annotated[bool, QueryParameter(name="force", description="Delete an unhealthy connection too.")]


@route(
    "GET",
    _CONNECTION,
    access=_MANAGES,
    tag=_TAG,
    summary="Read a connection with its state",
    refusals=(FORBIDDEN,),
)
@in_thread
def get_client_configuration(connection_key: FromPath[str], call: InjectedCall) -> PreviewView:
    """Return a connection with its state, and `[REDACTED]` in the place of each secret.

    Requires `APPLICATION_ADMIN`, or being an infrastructure admin of the connection.
    """
    return _view(call, call.services.connections.get_managed(call.principal, connection_key))


@route(
    "PATCH",
    _CONNECTION,
    access=_MANAGES,
    tag=_TAG,
    summary="Change fields of a connection",
    body=with_body(
        ClientConfigurationBody,
        example={"clientConfiguration": {"database": "shop", "credential": {"password": "[REDACTED]"}}},
        required=True,
        description="The fields to change. `[REDACTED]` keeps a secret.",
    ),
    refusals=(FORBIDDEN, CONFLICT),
)
@in_thread
def patch_client_configuration(
    connection_key: FromPath[str],
    request: AnyRequest,
    body: RawBody,
    call: InjectedCall,
    dry_run: IsDryRun = False,
) -> PreviewView:
    """Change some fields of a connection in use, or check the change with `dryRun`.

    Requires `APPLICATION_ADMIN`, or being an infrastructure admin of the connection.
    """
    asked = get_json(
        body,
        request.headers.get("content-type"),
        ClientConfigurationBody,
        such_as='{"clientConfiguration": {…}}',
    ).changes()
    registry = call.services.connections
    if dry_run:
        record = registry.get_managed(call.principal, connection_key)
        plain, secrets = registry.checked(record, asked)
        shown = call.services.connection_secrets.redacted(record) if secrets is None else redacted(secrets)
        return PreviewView.of(record, merged(plain, shown))
    return _view(call, registry.update(call.principal, connection_key, asked, call.origin))


@route(
    "DELETE",
    _CONNECTION,
    access=_MANAGES,
    tag=_TAG,
    summary="Delete a connection that is switched off",
    answers={HTTPStatus.ACCEPTED: ResponseSpec(TaskView, description="Accepted; the task is a job.")},
    refusals=(FORBIDDEN, CONFLICT),
)
@in_thread
def delete_connection(
    connection_key: FromPath[str], call: InjectedCall, force: IsForced = False
) -> Response[TaskView]:
    """Begin to delete a connection that is INACTIVE, or with `force` one that is UNHEALTHY.

    Requires `APPLICATION_ADMIN`, or being an infrastructure admin of the connection.
    """
    job = call.services.jobs.delete(call.principal, connection_key, call.origin, is_forced=force)
    task = TaskView(job.job_id, "Deletion task created and accepted for processing")
    return Response(task, status_code=HTTPStatus.ACCEPTED)


@route(
    "POST",
    f"{_CONNECTION}/activate",
    access=_MANAGES,
    tag=_TAG,
    summary="Activate a connection",
    refusals=(FORBIDDEN, CONFLICT),
)
@in_thread
def activate_connection(connection_key: FromPath[str], call: InjectedCall) -> PreviewView:
    """Switch on a connection that is INACTIVE.

    Requires `APPLICATION_ADMIN`, or being an infrastructure admin of the connection.
    """
    return _set_active(call, connection_key, is_active=True)


@route(
    "POST",
    f"{_CONNECTION}/deactivate",
    access=_MANAGES,
    tag=_TAG,
    summary="Deactivate a connection",
    refusals=(FORBIDDEN, CONFLICT),
)
@in_thread
def deactivate_connection(connection_key: FromPath[str], call: InjectedCall) -> PreviewView:
    """Switch off a connection: nothing reaches its database, and it may be deleted.

    Requires `APPLICATION_ADMIN`, or being an infrastructure admin of the connection.
    """
    return _set_active(call, connection_key, is_active=False)


def _set_active(call: InjectedCall, connection_key: str, *, is_active: bool) -> PreviewView:
    record = call.services.connections.set_active(
        call.principal, connection_key, call.origin, is_active=is_active
    )
    return _view(call, record)


def _view(call: InjectedCall, record: ConnectionRecord) -> PreviewView:
    shown = call.services.connection_secrets.redacted(record)
    return PreviewView.of(record, merged(record.details, shown))
