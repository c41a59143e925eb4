"""Things that exist in a site, and a good call of every route of the API with what it answers."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any

from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.connections import FoundObject, JobState, JobType
from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import Permission
from keyturn.services.apis.fields import ScopeToRegister
from keyturn.services.connections.registry import NewConnection
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.people import HERE, caller
from tests.web.sites import CONNECTION, FORM, filled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx

    from keyturn.core.apis import ApiRecord
    from keyturn.core.people import UserRecord
    from keyturn.core.principal import Principal
    from tests.web.sites import Site

ADMIN = "admin@example.com"

_numbers = itertools.count(1)

TEXT = (str, NoneType)
MAP = (dict, NoneType)
ERROR = {"statusCode", "error", "message", "validation"}

EXTERNAL = dict.fromkeys(
    ("hdfsUser", "databricksUser", "snowflakeUser", "prestoUser", "asaUser", "redshiftUser", "teradataUser",
     "bigqueryUser"),
    TEXT,
)  # fmt: skip
PROFILE: Mapping[str, Any] = {
    "id": int, "iamid": str, "userid": str, "sqlUser": NoneType, "name": TEXT, "email": TEXT, "phone": TEXT,
    "about": TEXT, "location": TEXT, "organization": TEXT, "position": TEXT, "preferences": MAP,
    "externalUserIds": EXTERNAL, "scim": NoneType, "systemGenerated": bool, "createdAt": str,
    "updatedAt": str,
}  # fmt: skip
USER: Mapping[str, Any] = {
    "id": int, "iamid": str, "userid": str, "bimAuthorizations": MAP, "iamAuthorizations": MAP,
    "authorizations": dict, "projectId": (int, NoneType), "permissions": [str], "groupPermissions": [str],
    "hasLogin": bool, "profile": PROFILE, "authentication": (int, NoneType),
    "systemGenerated": bool, "lastLogin": TEXT, "lastExternalRefresh": str, "disabled": bool,
    "createdAt": str, "updatedAt": str,
}  # fmt: skip
KEY: Mapping[str, Any] = {
    "id": int, "keyid": int, "name": TEXT, "context": str, "project": (int, NoneType), "masked": str,
    "state": str, "createdAt": str, "expiresAt": TEXT, "lastUsedAt": TEXT, "revokedAt": TEXT,
    "formerSecretEndsAt": TEXT, "scopes": (list, NoneType), "allowFrom": (list, NoneType), "dpopJkt": TEXT,
    "allowMethods": (list, NoneType), "allowPaths": (list, NoneType),
}  # fmt: skip
NEW_KEY = {"apikey": str, **KEY}
KEY_PROJECT = {"id": int, "name": TEXT, "status": str}
LISTED_KEY = {**KEY, "project": NoneType, "created": str, "lastUsed": TEXT}
SYSTEM_KEY = {**NEW_KEY, "scopes": [str], "connectionKey": str}
GROUP: Mapping[str, Any] = {
    "id": int, "iamid": str, "name": str, "gid": TEXT, "email": TEXT, "description": TEXT,
    "authorizations": MAP, "scim": NoneType, "scimid": NoneType, "createdAt": str, "updatedAt": str,
}  # fmt: skip
MEMBER: Mapping[str, Any] = {
    "id": int, "group": int, "uid": int, "userid": str, "iamid": str, "disabled": bool, "profile": PROFILE,
    "scim": NoneType, "scimid": NoneType, "createdAt": str, "updatedAt": str,
}  # fmt: skip
NEW_MEMBER = {"id": int, "group": int, "profile": int, "createdAt": str, "updatedAt": str}
PROJECT: Mapping[str, Any] = {
    "id": int, "projectKey": str, "name": str, "status": str, "description": TEXT, "type": str,
    "subscriptionStatus": str,
    "memberCount": int, "members": [{"id": int, "userid": str, "name": TEXT, "owner": bool}],
    "connectionCount": int, "connectionKeys": [str], "createdBy": int, "createdAt": str, "updatedAt": str,
}  # fmt: skip
SUBSCRIBER: Mapping[str, Any] = {
    "subscriptionId": int, "state": str, "expiration": NoneType, "profile": int, "group": NoneType,
    "type": str, "approved": bool, "createdAt": str, "updatedAt": str, "iamid": str, "userid": str,
    "name": TEXT, "email": TEXT,
}  # fmt: skip
SUBSCRIPTION = {"subscriptionId": int, "state": str, "approved": bool}
KEY_USE: Mapping[str, Any] = {
    "keyid": int, "address": TEXT, "userAgent": TEXT, "request": TEXT, "uses": int, "firstUsed": str,
    "lastUsed": str,
}  # fmt: skip
SERVICE: Mapping[str, Any] = {
    "id": int, "name": str, "identifier": str, "description": TEXT,
    "scopes": [{"name": str, "description": TEXT, "groups": (list, NoneType)}],
    "createdAt": str, "updatedAt": str,
}  # fmt: skip
SERVICE_ACCOUNT: Mapping[str, Any] = {
    "id": int, "iamid": str, "userid": str, "name": TEXT, "owner": {"userid": TEXT, "group": (int, NoneType)},
    "permissions": [str], "disabled": bool, "createdAt": str, "updatedAt": str,
}  # fmt: skip
TOKEN = {"authenticated": bool, "token": str, "tokenExpiration": str}
TOLD = {
    "active": bool, "client_id": str, "username": str, "token_type": str, "exp": int, "sub": str,
    "permissions": [str], "iamid": str, "withheld": [str],
}  # fmt: skip
LOGIN = {**TOKEN, "profileId": int}
IAM = {"id": str, "displayName": str, "type": str, "oauth": bool}
PERSON = {"id": int, "name": TEXT, "email": TEXT}
CONNECTION_VIEW = {
    "connectionKey": str, "connection": dict, "createdAt": str, "createdBy": int, "creator": PERSON,
    "updatedAt": str, "updatedBy": int, "updater": PERSON, "nativeIntegrationId": (int, NoneType),
}  # fmt: skip
DELETED = {"id": int}
PREVIEW: Mapping[str, Any] = {
    "connectionKey": str, "technology": str, "state": str, "stateReason": TEXT, "clientConfiguration": dict,
    "crawledAt": TEXT, "crawlEveryHours": (int, NoneType),
}  # fmt: skip
OBJECT: Mapping[str, Any] = {
    "objectPath": [str], "technology": str, "kind": str, "state": str, "comment": TEXT, "columnCount": int,
    "overrides": [str],
}  # fmt: skip
_FLAG = {"value": bool, "hasDescendantsWithOverrides": bool}
_HOLDERS = {"value": [{"type": str, "id": int}], "hasDescendantsWithOverrides": bool}
OBJECT_DETAILS: Mapping[str, Any] = {
    **OBJECT,
    "settings": {
        "isActive": _FLAG, "activateNewChildren": _FLAG, "dataOwners": _HOLDERS,
        "infrastructureAdmins": _HOLDERS,
    },
    "columns": [{"name": str, "type": str, "comment": TEXT}],
}  # fmt: skip
STEP = {"step": str, "state": str, "milliseconds": int, "finding": TEXT, "detail": str}
JOB: Mapping[str, Any] = {
    "id": str, "type": str, "state": str, "objectPath": [str], "createdAt": str,
    "createdBy": (int, NoneType), "startedAt": TEXT, "endedAt": TEXT, "done": int,
    "expected": (int, NoneType), "output": dict,
}  # fmt: skip
FIELD: Mapping[str, Any] = {
    "name": str, "label": str, "type": str, "required": bool, "isSecret": bool,
    "default": (str, int, bool, NoneType), "help": str, "choices": [str], "fields": list,
}  # fmt: skip
TECHNOLOGY: Mapping[str, Any] = {
    "name": str, "tier": int, "support": str, "hierarchy": [str], "rotates": bool, "fields": [FIELD],
    "authenticationTypes": [{"name": str, "label": str, "fields": [FIELD]}],
}  # fmt: skip
TARGET: Mapping[str, Any] = {
    "technology": "PostgreSQL", "hostname": "127.0.0.1", "port": 9, "database": "shop",
    "username": "keyturn", "password": "seven quiet harbor lamps",
}  # fmt: skip
"""A connection that leads where none may: a test of it ends at its second step, and sends nothing."""


def listed(hit: Mapping[str, Any]) -> dict[str, Any]:
    return {"count": int, "hits": [hit]}


@dataclass(frozen=True)
class Call:
    """A call of a route, with placeholders in path and body, and what a good answer is like."""

    method: str
    path: str
    body: Any = None
    """None for an empty one, which says that it is JSON."""
    answer: Any = None
    query: str = ""
    is_form: bool = False
    status: int = 200

    @property
    def takes_key(self) -> bool:
        """Whether the caller's key is in the body, where no token is taken for it."""
        return isinstance(self.body, dict) and "{caller}" in self.body.values()

    @property
    def route(self) -> tuple[str, str]:
        return self.method, self.path

    def send(
        self, client: httpx.Client, values: Mapping[str, object], *, body: object = ...
    ) -> httpx.Response:
        """Send it with these values in the places of the placeholders; `caller` is the key of the client."""
        values = {
            "caller": client.headers.get("Authorization", "none"),
            "whom": str(values.get("userid")),  # A body names a user by text alone.
            **values,
        }
        path = filled(self.path + self.query, **values)
        sent = with_values(self.body, values) if body is ... else body
        if sent is None:
            return client.request(self.method, path, headers={"Content-Type": "application/json"})
        if self.is_form:
            return client.request(self.method, path, data=sent, headers={"Content-Type": FORM})
        return client.request(self.method, path, json=sent)


_USER = "/bim/iam/{iamid}/user/{userid}"
_ATTRIBUTE = "authorizations/{key}/{value}"
_SYSTEM_KEY = {"name": "{fresh}", "scopes": ["plugin:trino"], "connectionKey": CONNECTION}
_PERSON = {"apikey": "{caller}", "iamid": "{iamid}", "userid": "{whom}"}

CALLS = (
    # Section 1.1
    *(
        call
        for prefix in ("", "/bim")
        for call in (
            Call("POST", f"{prefix}/apikey/authenticate", {"apikey": "{secret}"}, TOKEN),
            Call("POST", f"{prefix}/apikey/authenticate", {"apikey": "{secret}"}, TOKEN, is_form=True),
            Call("POST", f"{prefix}/apikey/impersonate", _PERSON, TOKEN),
        )
    ),
    Call(
        "POST",
        "/bim/iam/{iamid}/user/authenticate",
        {"username": "{userid}", "password": "{password}"},
        LOGIN,
    ),
    Call("GET", "/bim/rpc/user/current", None, USER),
    # Section 1.2
    *(
        call
        for prefix in ("", "/bim")
        for call in (
            Call("POST", f"{prefix}/apikey", None, NEW_KEY),
            Call("POST", f"{prefix}/apikey", {"name": "nightly", "projectId": "{projectid}"}, NEW_KEY),
            Call("POST", f"{prefix}/apikey", {"scopes": ["open:read"]}, NEW_KEY),
            Call("POST", f"{prefix}/apikey/{{keyid}}/rotate", None, NEW_KEY),
            Call("POST", f"{prefix}/apikey/{{keyid}}/rotate", {"overlapSeconds": 60}, NEW_KEY),
            Call("DELETE", f"{prefix}/apikey/{{keyid}}", None, {"keyid": int, "revokedTokens": int}),
            Call("POST", f"{prefix}/apikey/system", _SYSTEM_KEY, SYSTEM_KEY),
            Call("POST", f"{prefix}/apikey/system", {**_SYSTEM_KEY, "regenerate": True}, SYSTEM_KEY),
            Call("DELETE", f"{prefix}/apikey/system/{{keyid}}", None, {"keyid": int}),
            Call("GET", f"{prefix}/iam/{{iamid}}/user/{{userid}}/apikeys", None, [LISTED_KEY]),
        )
    ),
    Call("GET", "/audit/apikey/activity", None, listed(KEY_USE), "?keyid={keyid}&count=5"),
    Call("POST", "/bim/token", {"token": "{secret}"}, TOLD),
    # Section 1.3
    Call(
        "POST",
        "/bim/iam/{iamid}/user",
        {"userid": "{fresh}"},
        {"newUser": USER, "newUserLink": str, "emailFailed": bool, "emailSent": bool},
    ),
    Call(
        "POST",
        "/bim/iam/{iamid}/user",
        {
            "iamid": "bim",
            "userid": "{fresh}",
            "password": "{password}",
            "profile": {"name": "Ada", "email": "ada@example.com"},
            "permissions": [],
        },
        {"newUser": USER, "newUserLink": NoneType, "emailFailed": bool, "emailSent": bool},
    ),
    Call("GET", "/bim/iam/{iamid}/user", None, listed(USER)),
    Call("GET", "/bim/user", None, listed(USER), "?iamid=bim&userid=admin&size=1&offset=0"),
    Call("GET", "/bim/iam", None, [IAM]),
    Call("GET", _USER, None, USER),
    Call("PUT", _USER, None, USER),
    Call("PUT", _USER, {}, USER),
    Call("GET", f"{_USER}/groups", None, [{"id": int, "name": str, "iamid": str, "groupUser": int}]),
    Call("POST", f"{_USER}/profile", {"name": "Ada", "externalUserIds": {}}, PROFILE),
    Call("POST", f"{_USER}/permissions", ["CREATE_PROJECT"], USER),
    Call("PUT", f"{_USER}/profile", {"name": "Ada", "externalUserIds": {"snowflakeUser": "ADA"}}, PROFILE),
    Call("PUT", f"{_USER}/profile", None, PROFILE),
    Call("PUT", f"{_USER}/permissions", ["CREATE_PROJECT"], USER),
    Call("PUT", f"{_USER}/permissions", {"permissions": ["CREATE_PROJECT"]}, USER),
    Call("DELETE", f"{_USER}/permissions/{{permission}}", None, USER),
    Call("PUT", f"{_USER}/password", {"password": "{password}"}, {"success": bool}),
    Call("PUT", f"{_USER}/disable/{{disable}}", None, USER),
    Call("PUT", f"{_USER}/disable/{{disable}}", None, USER, "?handOverTo={successor}"),
    Call("DELETE", _USER, None, {"id": int, "userid": str}),
    Call("DELETE", _USER, None, {"id": int, "userid": str}, "?handOverTo={successor}"),
    Call("POST", f"{_USER}/invitation", None, {"newUserLink": str, "expiresAt": str}),
    Call("POST", f"{_USER}/sign-out", None, {"sessions": int}),
    Call("POST", f"{_USER}/unlock", None, {"unlocked": bool}),
    *(
        Call(method, f"/bim/iam/{{iamid}}/{kind}/{_ATTRIBUTE}", body, answer)
        for method in ("PUT", "DELETE")
        for kind, answer in (("user/{userid}", USER), ("group/{groupid}", GROUP))
        for body in (None, {})
    ),
    *(
        Call(method, f"/bim/iam/{{iamid}}/{kind}/authorizations/{{key}}", None, answer)
        for method in ("PUT", "DELETE")
        for kind, answer in (("user/{userid}", USER), ("group/{groupid}", GROUP))
    ),
    *(
        Call(method, f"/bim/iam/{{iamid}}/{kind}/authorizations", {"team": ["core"], "lead": []}, answer)
        for method in ("PUT", "POST")
        for kind, answer in (("user/{userid}", USER), ("group/{groupid}", GROUP))
    ),
    # Section 1.5
    Call("GET", "/bim/iam/{iamid}/group/{groupid}", None, {**GROUP, "bimAuthorizations": MAP}),
    Call("GET", "/bim/group", None, listed({"name": str}), "?nameOnly=true"),
    Call("GET", "/bim/group", None, listed(GROUP)),
    Call(
        "POST", "/bim/group", {"iamid": "bim", "name": "{fresh}", "email": None, "description": "a\nb"}, GROUP
    ),
    Call("GET", "/bim/group/{groupid}", None, GROUP),
    Call("PUT", "/bim/group/{groupid}", {"name": "{fresh}", "email": "a@example.com"}, GROUP),
    Call("DELETE", "/bim/group/{groupid}", None, DELETED),
    Call("DELETE", "/bim/group/{groupid}", None, DELETED, "?handOverTo={successor}"),
    Call("GET", "/bim/group/{groupid}/user", None, listed(MEMBER)),
    Call("POST", "/bim/group/{groupid}/user", {"userid": "{successor}", "iamid": "bim"}, NEW_MEMBER),
    Call("DELETE", "/bim/group/{groupid}/user/{membershipid}", None, DELETED),
    # Ours
    Call("GET", "/project", None, {**listed(PROJECT), "facets": dict}),
    Call("GET", "/project/{projectid}/members", None, {"count": int, "members": [SUBSCRIBER]}),
    Call("POST", "/project/{projectid}/members", {"profileId": "{profileid}"}, SUBSCRIPTION),
    Call("POST", "/project", {"name": "{fresh}", "description": None}, PROJECT),
    Call("GET", "/project/{projectid}", None, PROJECT),
    Call("PUT", "/project/{projectid}", {"description": "what it is for"}, PROJECT),
    Call("DELETE", "/project/{projectid}", None, DELETED),
    Call("PUT", "/project/{projectid}/member/{userid}", None, PROJECT),
    Call("PUT", "/project/{projectid}/member/{userid}", {"owner": True}, PROJECT),
    Call("DELETE", "/project/{projectid}/member/{userid}", None, PROJECT),
    Call("PUT", "/project/{projectid}/connection/{connection_key}", None, PROJECT),
    Call("DELETE", "/project/{projectid}/connection/{connection_key}", None, PROJECT),
    *(
        call
        for apis in ("/services", "/apis")
        for call in (
            Call("GET", apis, None, listed(SERVICE)),
            Call(
                "POST",
                apis,
                {"name": "{fresh}", "identifier": "{identifier}", "scopes": [{"name": "{fresh}"}]},
                SERVICE,
            ),
            Call(
                "POST",
                apis,
                {
                    "name": "{fresh}",
                    "identifier": "{identifier}",
                    "scopes": [{"name": "{fresh}", "groups": ["{groupid}"]}],
                },
                SERVICE,
            ),
            Call("GET", f"{apis}/{{serviceid}}", None, SERVICE),
            Call(
                "PUT",
                f"{apis}/{{serviceid}}",
                {
                    "name": "{fresh}",
                    "identifier": "{identifier}",
                    "description": "a\nb",
                    "scopes": [{"name": "{fresh}", "description": "all", "groups": ["{groupid}"]}],
                },
                SERVICE,
            ),
            Call("DELETE", f"{apis}/{{serviceid}}", None, DELETED),
        )
    ),
    Call("GET", "/serviceaccount", None, listed(SERVICE_ACCOUNT)),
    Call(
        "POST", "/serviceaccount", {"userid": "{fresh}", "owner": {"userid": "{successor}"}}, SERVICE_ACCOUNT
    ),
    Call("POST", "/serviceaccount", {"userid": "{fresh}", "owner": {"group": "{groupid}"}}, SERVICE_ACCOUNT),
    Call("GET", "/serviceaccount/{userid}", None, SERVICE_ACCOUNT),
    Call("PUT", "/serviceaccount/{userid}", {"owner": {"userid": "{successor}"}}, SERVICE_ACCOUNT),
    Call("PUT", "/serviceaccount/{userid}", {"owner": {"group": "{groupid}"}}, SERVICE_ACCOUNT),
    Call("POST", "/serviceaccount/{userid}/apikey", {"name": "nightly"}, NEW_KEY),
    Call("POST", "/serviceaccount/{userid}/apikey", None, NEW_KEY),
    Call("POST", "/serviceaccount/{userid}/apikey", {"scopes": ["open:read"]}, NEW_KEY),
    Call("GET", "/serviceaccount/{userid}/apikey", None, listed(KEY)),
    Call("DELETE", "/serviceaccount/{userid}/apikey/{keyid}", None, {"keyid": int}),
    # Section 4
    Call("GET", "/dataSource", None, {"count": int, "hits": [NoneType], "facets": dict}),
    Call("GET", "/data/technologies", None, [TECHNOLOGY]),
    Call("GET", "/data/connection/{connection_key}", None, CONNECTION_VIEW),
    Call("POST", "/data/connection", {"connectionKey": "{fresh}", "connection": TARGET}, CONNECTION_VIEW),
    Call(
        "POST",
        "/data/connection",
        {
            "connectionKey": "{fresh}",
            "connection": TARGET,
            "settings": {"isActive": False, "dataOwners": [{"type": "group", "id": "{groupid}"}]},
            "options": {"forceRecursiveCrawl": True},
            "nativeIntegration": {"type": "PostgreSQL", "config": {}},
            "crawlEveryHours": 24,
        },
        CONNECTION_VIEW,
    ),
    Call("PUT", "/data/connection/{connection_key}", {"connection": TARGET}, CONNECTION_VIEW),
    Call("PUT", "/data/connection/{connection_key}", {"crawlEveryHours": 24}, CONNECTION_VIEW),
    Call("POST", "/data/connection/{connection_key}/test", None, {"isHealthy": bool, "steps": [STEP]}),
    Call("POST", "/data/connection/{connection_key}/rotate", None, {"isChanged": bool, "reason": TEXT}),
    Call("GET", "/data/object/{object_path}", None, OBJECT_DETAILS),
    Call("DELETE", "/data/object/{object_path}", None, {"objectPath": [str], "childCount": int}),
    Call("POST", "/data/object/search", {"size": 5}, listed(OBJECT)),
    Call("POST", "/data/object/search/{object_path}", {"size": 5, "offset": 0}, listed(OBJECT)),
    Call("PUT", "/data/settings/{object_path}", {"settings": {"isActive": False}}, OBJECT_DETAILS),
    Call(
        "PUT",
        "/data/settings/{object_path}",
        {"settings": {"dataOwners": [{"type": "group", "id": "{groupid}"}]}},
        OBJECT_DETAILS,
    ),
    Call("POST", "/data/crawl/{object_path}", None, JOB),
    Call("GET", "/api/connections/{connection_key}", None, PREVIEW),
    Call(
        "PATCH",
        "/api/connections/{connection_key}",
        {"clientConfiguration": {"database": "other"}},
        PREVIEW,
    ),
    Call(
        "PATCH",
        "/api/connections/{connection_key}",
        {"clientConfiguration": {"database": "other", "credential": {"password": "[REDACTED]"}}},
        PREVIEW,
        "?dryRun=true",
    ),
    Call(
        "DELETE",
        "/api/connections/{connection_key}",
        None,
        {"taskId": str, "message": str},
        status=202,
    ),
    Call("POST", "/api/connections/{connection_key}/activate", None, PREVIEW),
    Call("POST", "/api/connections/{connection_key}/deactivate", None, PREVIEW),
    Call("GET", "/jobs", None, [JOB], "?bulkId={job_id}"),
    Call("GET", "/jobs/search", None, {"jobs": [JOB], "next": TEXT}, "?state=created&size=5"),
    Call("GET", "/jobs/summary", None, dict.fromkeys([one.value for one in JobState], int)),
    Call("POST", "/jobs/statuses", {"jobIds": ["{job_id}"]}, dict),
    Call("POST", "/jobs/{job_id}/cancel", None, JOB),
    Call("POST", "/feed/uses", {"uses": [{"keyId": 1, "at": 1767225600000, "uses": 3}]}, {"uses": int}),
)
"""Every route of the API but `/verify`, `/feed`, which has no end, and the open ones that ask for nothing."""

ABSENT: Mapping[str, object] = {
    "iamid": "bim",
    "userid": "nobody@example.com",
    "groupid": 987654321,
    "membershipid": 987654321,
    "projectid": 987654321,
    "serviceid": 987654321,
    "keyid": 987654321,
    "connection_key": "no-such",
    "object_path": "no-such",
    "job_id": "0b8f7d6e-58a4-4a39-8f0e-0f6f4f1c2f55",
}


@dataclass(frozen=True)
class Things:
    """One of each, which no other test knows, all of them somebody else's."""

    user: UserRecord
    service: UserRecord
    values: Mapping[str, object]
    service_key: int
    system_key: int
    connection_key: str
    inactive_key: str
    """Of a connection that is switched off."""

    def of(self, call: Call) -> dict[str, object]:
        """Return the values for a call: what is called userid and keyid depends on the path."""
        values = {**self.values, "fresh": fresh_name(), "identifier": f"https://{fresh_name()}.example.com"}
        if call.path.startswith("/serviceaccount"):
            values |= {"userid": self.service.userid, "keyid": self.service_key}
        elif "/apikey/system/" in call.path:
            values |= {"keyid": self.system_key}
        elif call.path.startswith(("/data/", "/api/connections/")) and call.method != "GET":
            is_off = call.status == 202 or call.path.endswith("/activate")
            values |= {"connection_key": self.inactive_key if is_off else self.connection_key}
        return values


def fresh_name() -> str:
    return f"fresh{next(_numbers)}"


def principal(site: Site, userid: str) -> Principal:
    """Return a user as they are with a key of theirs."""
    return caller(site.services, site.key(userid).secret)


def add_things(site: Site, *, keys_of: str = ADMIN, password: str) -> Things:
    """Make one of each. The key is that of `keys_of`, for DELETE is for one's own."""
    services = site.services
    admin = principal(site, ADMIN)
    user, successor = site.new_user(), site.new_user()
    service = services.service_accounts.add(
        admin, HERE, userid=fresh_name(), name=None, owner=ServiceOwner(user.user_id)
    )
    group = services.groups.add(admin, HERE, iamid="bim", name=fresh_name())
    member = services.groups.add_member(admin, group.group_id, HERE, iamid="bim", userid=user.userid)
    project = services.projects.add(admin, HERE, name=fresh_name(), description=None)
    services.projects.set_member(admin, project.project_id, user.userid, HERE, is_owner=False)
    services.projects.add_connection(admin, project.project_id, CONNECTION, HERE)
    system_key = services.system_keys.get_or_create(
        admin,
        HERE,
        name=fresh_name(),
        scopes=["plugin:trino"],
        connection_key=CONNECTION,
        regenerate=False,
    )
    service_key = services.service_accounts.create_key(admin, service.userid, HERE, NewKey())
    resource = add_service(site, admin, fresh_name(), [ScopeToRegister(fresh_name(), None, [group.group_id])])
    if all(known.name != "Open" for known in services.apis.list_all()):
        add_service(site, admin, "Open", [ScopeToRegister("open:read")])
    site.key(user.userid)
    own = site.key(keys_of)
    registered, off = (add_connection(site, admin, is_active=is_active) for is_active in (True, False))
    values = {
        "iamid": "bim",
        "userid": user.userid,
        "profileid": user.profile.profile_id,
        "successor": successor.userid,
        "groupid": group.group_id,
        "membershipid": member.membership_id,
        "projectid": project.project_id,
        "serviceid": resource.resource_id,
        "connection_key": CONNECTION,
        "object_path": registered,
        "job_id": add_job(site, admin),
        "keyid": own.record.key_id,
        "secret": own.secret,
        "key": "Department",
        "value": "sales",
        "permission": Permission.CREATE_PROJECT.value,
        "disable": "true",
        "password": password,
    }
    return Things(user, service, values, service_key.record.key_id, system_key.record.key_id, registered, off)


def add_connection(site: Site, admin: Principal, *, is_active: bool = True) -> str:
    """Register a connection behind which a crawl has found something; return its key."""
    services, key = site.services, fresh_name()
    record = services.connections.add(admin, NewConnection(key, TARGET, is_active=is_active), HERE)
    objects = services.store.data_objects
    number = objects.begin_crawl(record.connection_id)
    assert number is not None
    found = FoundObject(("shop",), "database", None, b"1" * 16)
    objects.add(record.connection_id, number, [found], [number])
    objects.finish(record.connection_id, number, services.system.now())
    return key


def add_job(site: Site, admin: Principal) -> str:
    """Write down a job that no process does, on a connection of its own; return its id."""
    services, job_id = site.services, str(uuid.uuid4())
    record = services.connections.get(admin, add_connection(site, admin))
    audit = AuditEntry(
        services.system.now(),
        AuditAction.CONNECTION_JOB_STARTED,
        COMMAND_LINE,
        Target.CONNECTION,
        record.connection_key,
        details={"type": JobType.CRAWL.value},
    )
    connection = (record.connection_id, record.connection_key)
    services.store.jobs.add(job_id, JobType.CRAWL, connection, (), by=admin.user_id, audit=audit)
    return job_id


def add_service(site: Site, admin: Principal, name: str, scopes: Sequence[ScopeToRegister]) -> ApiRecord:
    """Register an API under an identifier of its own."""
    identifier = f"https://{name.lower()}.example.com"
    return site.services.apis.add(
        admin, HERE, name=name, identifier=identifier, description=None, scopes=scopes
    )


def with_values(template: Any, values: Mapping[str, object]) -> Any:
    """Put values in the places of the texts that are placeholders."""
    match template:
        case dict():
            return {name: with_values(value, values) for name, value in template.items()}
        case list():
            return [with_values(value, values) for value in template]
        case str() if template.startswith("{"):
            return values[template.strip("{}")]
        case _:
            return template


def differences(found: Any, shape: Any, at: str = "$") -> list[str]:
    """Return where a value is not of this shape: a type, some, a list of one shape, or exact fields."""
    match shape:
        case [of_each]:
            if not isinstance(found, list):
                return [f"{at} is no list"]
            return [d for i, item in enumerate(found) for d in differences(item, of_each, f"{at}[{i}]")]
        case dict():
            if not isinstance(found, dict) or set(found) != set(shape):
                return [f"{at} has the fields {sorted(found) if isinstance(found, dict) else found!r}"]
            return [d for name, of in shape.items() for d in differences(found[name], of, f"{at}.{name}")]
        case _:
            allowed = shape if isinstance(shape, tuple) else (shape,)
            return [] if type(found) in allowed else [f"{at} is {found!r}"]
