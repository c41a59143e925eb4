"""Attributes of users and groups (http-api/attributes.md, "Attributes")."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

from litestar.params import FromPath, PathParameter, RawBody

from keyturn.core.permissions import Permission
from keyturn.errors import NotFound
from keyturn.services.people.attributes import Attribute
from keyturn.web.api.documentation import with_body
from keyturn.web.api.people.group_views import GroupView
from keyturn.web.api.people.user_bodies import AttributesBody
from keyturn.web.api.people.user_views import UserView
from keyturn.web.bodies import get_json
from keyturn.web.requests import AnyRequest, Call, IdInPath, InjectedCall, asked_id, in_thread
from keyturn.web.routes import Alias, needs, route

_USER_ATTRIBUTES = "/bim/iam/{iamid:str}/user/{userid:str}/authorizations"
_GROUP_ATTRIBUTES = "/bim/iam/{iamid:str}/group/{groupid:str}/authorizations"
_USER = _USER_ATTRIBUTES + "/{key:str}/{value:path}"
_GROUP = _GROUP_ATTRIBUTES + "/{key:str}/{value:path}"
_SUCH_AS = '{"team": ["core", …], …}'
_ATTRIBUTES = with_body(
    AttributesBody,
    example={"team": ["core"], "contractor": []},
    required=True,
    description="All attributes: the values by name.",
)
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


@route(
    "PUT",
    _USER_ATTRIBUTES,
    access=_USER_ADMIN,
    alias=Alias(_USER_ATTRIBUTES, method="POST"),
    tag=_TAG,
    summary="Set a user's attributes",
    body=_ATTRIBUTES,
)
@in_thread
def set_user_attributes(
    iamid: FromPath[str], userid: FromPath[str], request: AnyRequest, body: RawBody, call: InjectedCall
) -> UserView:
    """Replace the attributes of a user. Attributes that come from the user's groups stay.

    Requires `USER_ADMIN`.
    """
    asked = get_json(body, request.headers.get("content-type"), AttributesBody, such_as=_SUCH_AS)
    return UserView.of(
        call.services.user_administration.set_attributes(call.principal, iamid, userid, asked, call.origin)
    )


@route(
    "PUT",
    _GROUP_ATTRIBUTES,
    access=_USER_ADMIN,
    alias=Alias(_GROUP_ATTRIBUTES, method="POST"),
    tag=_TAG,
    summary="Set a group's attributes",
    body=_ATTRIBUTES,
)
@in_thread
def set_group_attributes(
    iamid: FromPath[str], groupid: IdInPath, request: AnyRequest, body: RawBody, call: InjectedCall
) -> GroupView:
    """Replace the attributes of a group and thus those of its members.

    Requires `USER_ADMIN`.
    """
    asked = get_json(body, request.headers.get("content-type"), AttributesBody, such_as=_SUCH_AS)
    return GroupView.of(
        call.services.groups.set_attributes(call.principal, iamid, asked_id(groupid), asked, call.origin)
    )


@route(
    "PUT",
    _USER_ATTRIBUTES + "/{key:str}",
    access=_USER_ADMIN,
    tag=_TAG,
    summary="Give a user an attribute without a value",
)
@in_thread
def give_name_to_user(
    iamid: FromPath[str], userid: FromPath[str], key: FromPath[str], call: InjectedCall
) -> UserView:
    """Add an attribute without a value to a user.

    If the user already has the attribute, with or without values, nothing changes.

    Requires `USER_ADMIN`.
    """
    return _change_user(call, iamid, userid, (key, None), is_given=True)


@route(
    "DELETE",
    _USER_ATTRIBUTES + "/{key:str}",
    access=_USER_ADMIN,
    tag=_TAG,
    summary="Remove all values of an attribute from a user",
)
@in_thread
def take_name_from_user(
    iamid: FromPath[str], userid: FromPath[str], key: FromPath[str], call: InjectedCall
) -> UserView:
    """Remove an attribute with all its values from a user.

    Requires `USER_ADMIN`.
    """
    return _change_user(call, iamid, userid, (key, None), is_given=False)


@route(
    "PUT",
    _GROUP_ATTRIBUTES + "/{key:str}",
    access=_USER_ADMIN,
    tag=_TAG,
    summary="Give a group an attribute without a value",
)
@in_thread
def give_name_to_group(
    iamid: FromPath[str], groupid: IdInPath, key: FromPath[str], call: InjectedCall
) -> GroupView:
    """Add an attribute without a value to a group and thus to its members.

    If the group already has the attribute, with or without values, nothing changes.

    Requires `USER_ADMIN`.
    """
    return _change_group(call, iamid, groupid, (key, None), is_given=True)


@route(
    "DELETE",
    _GROUP_ATTRIBUTES + "/{key:str}",
    access=_USER_ADMIN,
    tag=_TAG,
    summary="Remove all values of an attribute from a group",
)
@in_thread
def take_name_from_group(
    iamid: FromPath[str], groupid: IdInPath, key: FromPath[str], call: InjectedCall
) -> GroupView:
    """Remove an attribute with all its values from a group.

    Requires `USER_ADMIN`.
    """
    return _change_group(call, iamid, groupid, (key, None), is_given=False)


def _value(request: AnyRequest) -> str:
    """Return what stands behind the attribute's name in the path, as it was sent; raise `NotFound`."""
    found = _VALUE.fullmatch(unquote(request.scope["raw_path"].decode("ascii")))
    if found is None:
        raise NotFound
    return found[1]


def _change_user(call: Call, iamid: str, userid: str, attribute: Attribute, *, is_given: bool) -> UserView:
    user = call.services.user_administration.change_attribute(
        call.principal, iamid, userid, attribute, call.origin, is_given=is_given
    )
    return UserView.of(user)


def _change_group(call: Call, iamid: str, groupid: str, attribute: Attribute, *, is_given: bool) -> GroupView:
    group = call.services.groups.change_attribute(
        call.principal, asked_id(groupid), attribute, call.origin, is_given=is_given, iamid=iamid
    )
    return GroupView.of(group)
