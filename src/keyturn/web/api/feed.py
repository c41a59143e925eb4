"""The feed, which the gate answers, and what verifiers elsewhere report back."""

from http import HTTPStatus
from typing import Annotated

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter, RawBody

from keyturn.core import feed
from keyturn.core.permissions import Permission
from keyturn.core.records import LastUse
from keyturn.core.times import time_at
from keyturn.errors import MalformedRequest
from keyturn.services.feed.stream import check_may_follow
from keyturn.web.api.documentation import with_body
from keyturn.web.bodies import get_json
from keyturn.web.edge.feed_streams import NONCE_PATTERN
from keyturn.web.requests import AnyRequest, InjectedCall, at_once, in_thread
from keyturn.web.routes import needs, route


class UsesBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Uses of keys that a verifier reports."""

    uses: Annotated[list[feed.KeyUseReport], msgspec.Meta(max_length=feed.MAX_USES_AT_ONCE)]


class UsesView(msgspec.Struct, frozen=True):
    """What was taken in."""

    uses: int
    """Of how many keys."""


@route(
    "GET",
    feed.PATH,
    access=needs(Permission.VERIFY_CREDENTIALS),
    tag="Feed",
    summary="Follow the feed of changes",
    answers={
        HTTPStatus.OK: ResponseSpec(
            None,
            generate_examples=False,
            description="An endless stream of server-sent events (`text/event-stream`).",
        )
    },
)
@at_once
def follow(
    call: InjectedCall,
    nonce: Annotated[str, QueryParameter(pattern=NONCE_PATTERN)] = "",  # noqa: ARG001 - for the description
    revision: Annotated[str, QueryParameter(pattern="^[0-9]{1,19}$")] = "",  # noqa: ARG001 - the same
    event_id: Annotated[str, QueryParameter(pattern="^[0-9a-f-]{36}$")] = "",  # noqa: ARG001 - the same
) -> None:
    """Stream the current state and then every change, as server-sent events.

    Send a new `nonce` with each request: 16 to 64 characters of base64url. To resume a stream, send the
    `revision` and `event_id` of the last `alive` event. The stream then continues from there if possible.
    Otherwise it begins with the full current state. The feed page of the documentation describes the events.

    Requires `VERIFY_CREDENTIALS`, and a credential that is not bound to a key pair.
    """
    # The gate answers every GET: this is here for its description, and for HEAD.
    check_may_follow(call.principal)
    raise MalformedRequest("Follow the feed with GET.")


@route(
    "POST",
    feed.USES_PATH,
    access=needs(Permission.VERIFY_CREDENTIALS),
    tag="Feed",
    summary="Report uses of keys",
    body=with_body(
        UsesBody,
        example={"uses": [{"keyId": 17, "at": 1767225600000, "uses": 3}]},
        required=True,
        description="At most 100 reports.",
    ),
)
@in_thread
def report_uses(request: AnyRequest, body: RawBody, call: InjectedCall) -> UsesView:
    """Record when a verifier last saw keys in use, and how often since its last report.

    Report each key once a minute at most. If a request contains several reports of a key, the last one
    counts.

    Requires `VERIFY_CREDENTIALS`, and a credential that is not bound to a key pair.
    """
    check_may_follow(call.principal)  # Before anything is said of the body.
    such_as = '{"uses": [{"keyId": 17, "at": 1767225600000, "uses": 3}]}'
    reported = get_json(body, request.headers.get("content-type"), UsesBody, such_as=such_as).uses
    call.services.remote_uses.record(call.principal, map(_use, reported))
    return UsesView(len(reported))


def _use(row: feed.KeyUseReport) -> tuple[int, LastUse, int]:
    return row.key_id, LastUse(time_at(row.at), row.address, row.via, row.agent), row.uses
