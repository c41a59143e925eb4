"""Attributes of users and groups (http-api/attributes.md, "Attributes")."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

from litestar.params import FromPath, PathParameter

from keyturn.core.permissions import Permission
from keyturn.errors import NotFound
from keyturn.web.api.people.group_views import GroupView
from keyturn.web.api.people.user_views import UserView
from keyturn.web.requests import AnyRequest, Call, IdInPath, InjectedCall, asked_id, in_thread
from keyturn.web.routes import needs, route

_USER = "/bim/iam/{iamid:str}/user/{userid:str}/authorizations/{key:str}/{value:path}"
_GROUP = "/bim/iam/{iamid:str}/group/{groupid:str}/authorizations/{key:str}/{value:path}"
_TAG = "Attributes"
_USER_ADMIN = needs(Permission.USER_ADMIN)

_VALUE = re.compile(r"(?:/+[^/]+){5}/+authorizations/+[^/]+/(.+)", re.DOTALL)

ValueInPath = Annotated[
    Path, PathParameter(schema_extra={"type": "string", "format": None, "minLength": 1, "maxLength": 254})
]
"""All that follows in the path, slashes too. How the framework reads it is not used: it tidies slashes."""


@route("PUT", _USER, access=_USER_ADMIN, tag=_TAG, summary="Give a user an attribute")
@in_thread
def give_to_user(
    iamid: FromPath[str],
    userid: FromPath[str],
    key: FromPath[str],
    value: ValueInPath,  # noqa: ARG001 - see there
    request: AnyRequest,
    call: InjectedCall,
) -> UserView:
    """Add an attribute to a user.

    If the user already has the attribute, nothing changes. The name is stored in lowercase.

    Requires `USER_ADMIN`.
    """
    return _change_user(call, iamid, userid, (key, _value(request)), is_given=True)


@route("DELETE", _USER, access=_USER_ADMIN, tag=_TAG, summary="Remove an attribute from a user")
@in_thread
def take_from_user(
    iamid: FromPath[str],
    userid: FromPath[str],
    key: FromPath[str],
    value: ValueInPath,  # noqa: ARG001 - see there
    request: AnyRequest,
    call: InjectedCall,
) -> UserView:
    """Remove an attribute from a user.

    If the user does not have the attribute, nothing changes. Attributes that come from the user's groups
    stay.

    Requires `USER_ADMIN`.
    """
    return _change_user(call, iamid, userid, (key, _value(request)), is_given=False)


@route("PUT", _GROUP, access=_USER_ADMIN, tag=_TAG, summary="Give a group an attribute")
@in_thread
def give_to_group(
    iamid: FromPath[str],
    groupid: IdInPath,
    key: FromPath[str],
    value: ValueInPath,  # noqa: ARG001 - see there
    request: AnyRequest,
    call: InjectedCall,
) -> GroupView:
    """Add an attribute to a group and thus to its members.

    If the group already has the attribute, nothing changes. The name is stored in lowercase.

    Requires `USER_ADMIN`.
    """
    return _change_group(call, iamid, groupid, (key, _value(request)), is_given=True)


@route("DELETE", _GROUP, access=_USER_ADMIN, tag=_TAG, summary="Remove an attribute from a group")
@in_thread
def take_from_group(
    iamid: FromPath[str],
    groupid: IdInPath,
    key: FromPath[str],
    value: ValueInPath,  # noqa: ARG001 - see there
    request: AnyRequest,
    call: InjectedCall,
) -> GroupView:
    """Remove an attribute from a group.

    If the group does not have the attribute, nothing changes.

    Requires `USER_ADMIN`.
    """
    return _change_group(call, iamid, groupid, (key, _value(request)), is_given=False)


def _value(request: AnyRequest) -> str:
    """Return what stands behind the attribute's name in the path, as it was sent; raise `NotFound`."""
    found = _VALUE.fullmatch(unquote(request.scope["raw_path"].decode("ascii")))
    if found is None:
        raise NotFound
    return found[1]


def _change_user(
    call: Call, iamid: str, userid: str, attribute: tuple[str, str], *, is_given: bool
) -> UserView:
    user = call.services.user_administration.change_attribute(
        call.principal, iamid, userid, attribute, call.origin, is_given=is_given
    )
    return UserView.of(user)


def _change_group(
    call: Call, iamid: str, groupid: str, attribute: tuple[str, str], *, is_given: bool
) -> GroupView:
    group = call.services.groups.change_attribute(
        call.principal, asked_id(groupid), attribute, call.origin, is_given=is_given, iamid=iamid
    )
    return GroupView.of(group)
