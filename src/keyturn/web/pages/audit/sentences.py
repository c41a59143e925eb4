"""Rows of the audit log as sentences: who did what, to what. Names lead to pages that the reader may see."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from typing import Any, Self
from urllib.parse import quote

from markupsafe import Markup, escape

from keyturn.core.audit import AuditAction, AuditNames, AuditRow, Target
from keyturn.core.permissions import SEE_CONNECTION, SEE_PROJECTS, Permission
from keyturn.core.principal import Principal
from keyturn.core.records import RevocationReason
from keyturn.core.times import wire_time
from keyturn.services.connections.jobs import SCHEDULE
from keyturn.verifying.origin import COMMAND_LINE
from keyturn.web.pages.frame import moments
from keyturn.web.pages.frame.notices import counted
from keyturn.web.pages.frame.tabs import APIS, CONNECTIONS, GROUPS, KEYS, PROJECTS, USERS
from keyturn.web.requests import asked_id

STRANGER = "anonymous"
"""The actor of a row that nobody has proved to be (`verifying.origin.stranger`)."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A row of the log in words."""

    icon: str
    text: Markup


@dataclass(frozen=True, slots=True)
class Narrator:
    """Tells rows. `names` are those that the reader may be told; where there are none, numbers stand."""

    names: AuditNames
    links_users: bool = False
    """Whether the reader may open the pages of users, groups and keys."""
    links_apis: bool = False
    links_projects: bool = False
    links_connections: bool = False
    zone: tzinfo = UTC
    """The one in which the reader reads times."""
    on_page_of_key: int | None = None
    """The key whose page it is, which has its name for a title: there it is "the key", without an owner."""

    @classmethod
    def to(cls, reader: Principal, names: AuditNames, zone: tzinfo = UTC) -> Self:
        """Return one that links to the pages that the reader may open."""
        return cls(
            names,
            links_users=reader.may(Permission.USER_ADMIN),
            links_apis=reader.may(Permission.APPLICATION_ADMIN),
            links_projects=reader.may(*SEE_PROJECTS),
            links_connections=reader.may(*SEE_CONNECTION),
            zone=zone,
        )

    def tell(self, row: AuditRow) -> Sentence:
        """Return the sentence; for an action that a newer program wrote, its name."""
        icon, words = _WORDS.get(row.action, ("info", _unknown))
        text = words(_Told(self, row))
        if row.actor_user_id is None or not text.startswith(escape(row.actor_userid)):
            text = _capitalized(text)  # A user name keeps its case.
        return Sentence(icon if row.succeeded else "fail", text + ".")

    def user(self, number: object, otherwise: str | None = None) -> Markup:
        """Name a user; `otherwise` is the user name that the row itself holds."""
        found = self.names.users.get(number) if isinstance(number, int) else None
        if found is None:
            return escape(otherwise) if otherwise else Markup("user {}").format(number)
        return _link(self.links_users, f"{USERS.path}/{number}", found)

    def key(self, number: int, otherwise: str | None) -> Markup:
        """Name a key, with the word for it."""
        path = f"{KEYS.path}/{number}"
        if otherwise is None and number not in self.names.keys:
            return Markup("key {}").format(number)
        name = self.names.keys[number].name if number in self.names.keys else otherwise
        if name is None:
            return _link(self.links_users, path, f"the unnamed key {number}")
        return Markup("the key ") + _link(self.links_users, path, name)

    def thing(self, word: str, number: int, otherwise: str | None) -> Markup:
        """Name a group, a project or an API, with the word for it."""
        names, path, is_linked = {
            "group": (self.names.groups, GROUPS.path, self.links_users),
            "project": (self.names.projects, PROJECTS.path, self.links_projects),
            "API": (self.names.apis, APIS.path, self.links_apis),
        }[word]
        if number in names:
            return Markup("the {} {}").format(word, _link(is_linked, f"{path}/{number}", names[number]))
        return (
            Markup("the {} {}").format(word, otherwise) if otherwise else Markup("{} {}").format(word, number)
        )


def _link(is_linked: bool, path: str, text: str) -> Markup:
    return Markup('<a href="{}">{}</a>').format(path, text) if is_linked else Markup("<b>{}</b>").format(text)


@dataclass(frozen=True, slots=True)
class _Told:
    """The parts of a sentence about one row."""

    narrator: Narrator
    row: AuditRow

    @property
    def details(self) -> Mapping[str, Any]:
        return self.row.details

    @property
    def number(self) -> int:
        """The number of the target, 0 if it has none."""
        return asked_id(self.row.target_id or "")

    @property
    def actor(self) -> Markup:
        """The actor, at the beginning of the sentence."""
        if self.row.actor_user_id is not None:
            return self.narrator.user(self.row.actor_user_id, self.row.actor_userid)
        if self.row.actor_userid == COMMAND_LINE.userid:
            return Markup("The command line")
        if self.row.actor_userid == STRANGER:
            return Markup("Somebody")
        if self.row.actor_userid == SCHEDULE.userid:
            return Markup("The schedule")
        return escape(self.row.actor_userid)

    @property
    def is_stranger(self) -> bool:
        return self.row.actor_user_id is None and self.row.actor_userid != COMMAND_LINE.userid

    @property
    def is_about_actor(self) -> bool:
        return self.row.target_type == Target.USER and self.number == self.row.actor_user_id

    @property
    def user(self) -> Markup:
        """The target, a user."""
        return self.narrator.user(self.number or self.row.target_id, self.details.get("userid"))

    @property
    def key(self) -> Markup:
        """The target, a key, and whose it is if it is not the actor's."""
        if self.number == self.narrator.on_page_of_key:
            return Markup("the key")
        known = self.narrator.names.keys.get(self.number)
        owner = known.user_id if known is not None else self.details.get("userId")
        key = self.narrator.key(self.number, self.details.get("name"))
        is_own = owner is None or owner == self.row.actor_user_id
        return key if is_own else Markup("{} of {}").format(key, self.narrator.user(owner))

    @property
    def connection(self) -> Markup:
        """The target, a connection, with the word for it."""
        key = self.row.target_id or ""
        is_linked = self.narrator.links_connections and self.row.action != AuditAction.CONNECTION_DELETED
        return Markup("the connection ") + _link(is_linked, f"{CONNECTIONS.path}/{quote(key, safe='')}", key)

    def thing(self, word: str) -> Markup:
        """The target, by its name."""
        return self.narrator.thing(word, self.number, self.details.get("name"))

    def because(self) -> Markup:
        """Say of which other change this is a consequence, or which reason was given."""
        match self.details.get("reason"):
            case RevocationReason.KEY_COMPROMISE:
                return Markup(", which may have leaked")
            case RevocationReason.SUPERSEDED:
                return Markup(", which another key replaced")
            case RevocationReason.CESSATION_OF_OPERATION:
                return Markup(", which was no longer used")
        match self.details.get("because"):
            case AuditAction.PROJECT_DELETED:
                return Markup(", with its project")
            case AuditAction.USER_DELETED | AuditAction.USER_DISABLED | AuditAction.GROUP_DELETED:
                return Markup(", with its owner")
        return Markup()


Words = Callable[[_Told], Markup]


def _plain(template: str) -> Words:
    """Return words that fill in the actor, and the target under the word for it."""

    def words(told: _Told) -> Markup:
        parts: dict[str, Any] = {"actor": told.actor}
        for word in ("key", "user", "connection"):
            if f"{{{word}}}" in template:
                parts[word] = getattr(told, word)
        for word in ("group", "project", "API"):
            if f"{{{word}}}" in template:
                parts[word] = told.thing(word)
        if "{because}" in template:
            parts["because"] = told.because()
        parts |= {"target": told.row.target_id, "device": told.details.get("device", "unknown")}
        return Markup(template).format(**parts)  # noqa: S704 - the templates stand below

    return words


def _created_key(told: _Told) -> Markup:
    never = ", which never expires" if told.details.get("expires") == "never" else ""
    return Markup("{} created {}{}").format(told.actor, told.key, never)


def _rotated(told: _Told) -> Markup:
    seconds = told.details.get("overlapSeconds")
    old: Markup | str = "the old secret ended at once"
    if isinstance(seconds, int) and seconds > 0:
        until = told.row.at + timedelta(seconds=seconds)
        shown = moments.moment(until, told.narrator.zone)
        old = Markup('the old secret was left until <time datetime="{}">{}</time>').format(
            wire_time(until), shown
        )
    return Markup("{} rotated {}; {}").format(told.actor, told.key, old)


def _updated_key(told: _Told) -> Markup:
    note = told.details.get("note")
    if "name" not in told.details and isinstance(note, str):
        return Markup("{} changed the note of {} to “{}”").format(told.actor, told.key, note)
    return Markup("{} renamed {}").format(told.actor, told.key)


def _created_user(told: _Told) -> Markup:
    if told.is_stranger:
        return Markup("the set-up created the first administrator, {}").format(told.user)
    word = "" if told.user.startswith("user ") else "the user "
    return Markup("{} created {}{}").format(told.actor, word, told.user)


def _profile(told: _Told) -> Markup:
    fields = told.details.get("fields") or ()
    whose = "their details" if told.is_about_actor else Markup("the details of {}").format(told.user)
    listed = f": {', '.join(map(str, fields)).replace('_', ' ')}" if fields else ""
    return Markup("{} changed {}{}").format(told.actor, whose, listed)


def _renamed_user(told: _Told) -> Markup:
    was, now = told.details.get("was"), told.details.get("userid")
    whose = "their user name" if told.is_about_actor else "the user name"
    return Markup("{} changed {} <b>{}</b> to <b>{}</b>").format(told.actor, whose, was, now)


def _password(told: _Told) -> Markup:
    if told.is_about_actor:
        return Markup("{} changed their password").format(told.actor)
    if told.is_stranger:
        return Markup("{} set a password with a link").format(told.user)
    return Markup("{} set a password for {}").format(told.actor, told.user)


def _signed_in(told: _Told) -> Markup:
    with_program = " with a program" if told.details.get("kind") == "token" else ""
    return Markup("{} signed in{}").format(told.actor, with_program)


def _failed(told: _Told) -> Markup:
    if not told.is_stranger:
        return Markup("{} entered a wrong password").format(told.actor)
    if told.number:
        return Markup("somebody failed to sign in as {}").format(told.user)
    return Markup("somebody failed to sign in under an unknown name")


def _session_ended(told: _Told) -> Markup:
    if "kept" in told.details:
        return Markup("{} ended all their other sessions").format(told.actor)
    if "session" in told.details:
        whose = "their sessions" if told.is_about_actor else Markup("the sessions of {}").format(told.user)
        return Markup("{} ended one of {}").format(told.actor, whose)
    if "crowdedOutBy" in told.details:
        return Markup("the oldest session of {} ended, because too many were open").format(told.actor)
    return Markup("{} ended one of their sessions").format(told.actor)


def _signed_out(told: _Told) -> Markup:
    if told.is_about_actor:
        return Markup("{} signed out everywhere").format(told.actor)
    return Markup("{} signed {} out everywhere").format(told.actor, told.user)


def _unlocked(told: _Told) -> Markup:
    failures = told.details.get("failures")
    after = f" after {counted(failures, 'wrong password')}" if isinstance(failures, int) else ""
    return Markup("{} unlocked {}{}").format(told.actor, told.user, after)


def _retired(told: _Told) -> Markup:
    if told.row.target_id is None:
        return Markup("{} retired the old signing keys").format(told.actor)
    return Markup("{} retired the signing key <code>{}</code>").format(told.actor, told.row.target_id)


def _permissions(told: _Told) -> Markup:
    added, removed = told.details.get("added") or (), told.details.get("removed") or ()
    parts = []
    if added:
        parts.append(Markup("gave {} {}").format(told.user, _listed("the permission", added)))
    if removed:
        parts.append(Markup("took {} from {}").format(_listed("the permission", removed), told.user))
    if not parts:
        parts.append(Markup("changed the permissions of {}").format(told.user))
    return Markup("{} {}").format(told.actor, Markup(" and ").join(parts))


def _attribute(name: str, values: Any) -> Markup:
    """Write an attribute. A row of an earlier version has one value as text."""
    texts = values if isinstance(values, list) else [values]
    return Markup("{} = {}").format(name, ", ".join(map(str, texts))) if texts else escape(name)


def _attributes(whose: Callable[[_Told], Markup]) -> Words:
    def words(told: _Told) -> Markup:
        for name, template in (("added", "{0} gave {1} {2}"), ("removed", "{0} took {2} from {1}")):
            given = told.details.get(name)
            if isinstance(given, Mapping) and given:
                pairs = [_attribute(key, values) for key, values in given.items()]
                return Markup(template).format(told.actor, whose(told), _listed("the attribute", pairs))  # noqa: S704 - written here
        return Markup("{} changed the attributes of {}").format(told.actor, whose(told))

    return words


def _member(template: str) -> Words:
    def words(told: _Told) -> Markup:
        member = told.narrator.user(told.details.get("userId"))
        return Markup(template).format(told.actor, member, told.thing("group"))  # noqa: S704 - written here

    return words


def _project(told: _Told) -> Markup:
    details, project, user = told.details, told.thing("project"), told.narrator.user
    if "member" in details:
        role = "an owner" if details.get("isOwner") else "a member"
        return Markup("{} made {} {} of {}").format(told.actor, user(details["member"]), role, project)
    if "memberRemoved" in details:
        return Markup("{} removed {} from {}").format(told.actor, user(details["memberRemoved"]), project)
    for name, template in (
        ("connection", "{} added the connection {} to {}"),
        ("connectionRemoved", "{} removed the connection {} from {}"),
    ):
        if name in details:
            return Markup(template).format(told.actor, details[name], project)  # noqa: S704 - written here
    return Markup("{} changed {}").format(told.actor, project)


def _transferred(told: _Told) -> Markup:
    owner, group = told.details.get("ownerUser"), told.details.get("ownerGroup")
    to = Markup()
    if owner is not None:
        to = Markup(" to {}").format(told.narrator.user(owner))
    elif isinstance(group, int):
        to = Markup(" to {}").format(told.narrator.thing("group", group, None))
    return Markup("{} transferred the service account {}{}").format(told.actor, told.user, to)


def _updated_connection(told: _Told) -> Markup:
    fields = told.details.get("fields") or ()
    listed = f": {', '.join(map(str, fields))}" if fields else ""
    return Markup("{} changed {}{}").format(told.actor, told.connection, listed)


def _object_settings(told: _Told) -> Markup:
    path = told.details.get("path") or ()
    if not path:
        return Markup("{} changed the settings of {}").format(told.actor, told.connection)
    return Markup("{} changed the settings of <b>{}</b> behind {}").format(
        told.actor, Markup(" / ").join(map(escape, path)), told.connection
    )


def _archived(told: _Told) -> Markup:
    return Markup("{} moved {} old events into the file <code>{}</code>").format(
        told.actor, told.details.get("events"), told.details.get("file")
    )


_WORK = {"crawl": "crawl", "delete": "delete", "rotate": "rotate the password of"}


def _job(template: str) -> Words:
    def words(told: _Told) -> Markup:
        work = _WORK.get(str(told.details.get("type")), "work on")
        return Markup("{} ").format(told.actor) + Markup(template).format(work, told.connection)  # noqa: S704 - written here

    return words


def _rotated_password(told: _Told) -> Markup:
    of = told.connection
    match told.details.get("step"):
        case "begun":
            return Markup("{} began to rotate the password of {}").format(told.actor, of)
        case "unchanged":
            return Markup(
                "{} left the password of {} as it was, because the server did not change it"
            ).format(told.actor, of)
        case "settled":
            return Markup("{} found out which password of {} works").format(told.actor, of)
    return Markup("{} rotated the password of {}").format(told.actor, of)


def _capitalized(text: Markup) -> Markup:
    first = text[:1]
    return first.upper() + text.removeprefix(first)


def _unknown(told: _Told) -> Markup:
    return Markup("{}: <code>{}</code>").format(told.actor, told.row.action)


def _listed(word: str, names: Iterable[object]) -> Markup:
    """Return "the permission AUDIT", or "the permissions AUDIT and GOVERNANCE"."""
    bold = [Markup("<b>{}</b>").format(name) for name in names]
    several = "" if len(bold) == 1 else "s"
    text = Markup(", ").join(bold[:-1]) + (Markup(" and ") if bold[:-1] else Markup()) + bold[-1]
    return Markup("{}{} {}").format(word, several, text)


_WORDS: Mapping[str, tuple[str, Words]] = {
    AuditAction.API_KEY_CREATED: ("plus", _created_key),
    AuditAction.API_KEY_DELETED: ("ban", _plain("{actor} revoked {key}{because}")),
    AuditAction.API_KEY_IMPORTED: ("get", _plain("{actor} imported {key}")),
    AuditAction.API_KEY_REPLACED: ("rotate", _plain("{actor} gave {key} a new secret; the old one ended")),
    AuditAction.API_KEY_REVEALED: ("eye", _plain("{actor} looked at {key} again")),
    AuditAction.API_KEY_ROTATED: ("rotate", _rotated),
    AuditAction.API_KEY_UPDATED: ("pen", _updated_key),
    AuditAction.DEVICE_APPROVED: ("terminal", _plain("{actor} connected the device <b>{device}</b>")),
    AuditAction.DEVICE_DENIED: ("ban", _plain("{actor} didn’t connect the device <b>{device}</b>")),
    AuditAction.USER_CREATED: ("user", _created_user),
    AuditAction.USER_DISABLED: ("pause", _plain("{actor} suspended {user}{because}")),
    AuditAction.USER_ENABLED: ("ok", _plain("{actor} restored {user}")),
    AuditAction.USER_PROFILE_UPDATED: ("pen", _profile),
    AuditAction.USER_RENAMED: ("pen", _renamed_user),
    AuditAction.USER_PASSWORD_UPDATED: ("lock", _password),
    AuditAction.USER_LOGGED_IN: ("user", _signed_in),
    AuditAction.USER_LOGIN_FAILED: ("fail", _failed),
    AuditAction.USER_LOGGED_OUT: ("out", _plain("{actor} signed out")),
    AuditAction.SESSION_ENDED: ("out", _session_ended),
    AuditAction.SESSION_PROVED: ("lock", _plain("{actor} confirmed their password")),
    AuditAction.CONNECTION_CREATED: ("plug", _plain("{actor} added {connection}")),
    AuditAction.CONNECTION_UPDATED: ("pen", _updated_connection),
    AuditAction.CONNECTION_ACTIVATED: ("ok", _plain("{actor} activated {connection}")),
    AuditAction.CONNECTION_DEACTIVATED: ("pause", _plain("{actor} deactivated {connection}")),
    AuditAction.CONNECTION_DELETED: ("trash", _plain("{actor} deleted {connection}")),
    AuditAction.CONNECTION_SETTINGS_UPDATED: ("pen", _object_settings),
    AuditAction.CONNECTION_JOB_STARTED: ("rotate", _job("started to {} {}")),
    AuditAction.CONNECTION_JOB_CANCELED: ("ban", _job("canceled the work to {} {}")),
    AuditAction.CONNECTION_PASSWORD_ROTATED: ("lock", _rotated_password),
    AuditAction.INSTALLATION_RESTORED: ("shield", _plain("{actor} restored a backup")),
    AuditAction.ROOT_KEY_REPLACED: (
        "shield",
        _plain("{actor} replaced the lost root key by <code>{target}</code>"),
    ),
    AuditAction.ROOT_KEY_ROTATED: (
        "shield",
        _plain("{actor} rotated the root key to <code>{target}</code>"),
    ),
    AuditAction.AUDIT_PRUNED: ("folder", _archived),
    AuditAction.SIGNING_KEY_CREATED: (
        "shield",
        _plain("{actor} created the signing key <code>{target}</code>"),
    ),
    AuditAction.SIGNING_KEYS_RETIRED: ("shield", _retired),
    AuditAction.TOKEN_ISSUED: ("terminal", _plain("{actor} created a short-lived token to try the API")),
    AuditAction.USER_IMPERSONATED: ("user", _plain("{actor} made a token that acts for {user}")),
    AuditAction.TOKEN_REVOKED: ("ban", _plain("{actor} revoked a token")),
    AuditAction.USER_SIGNED_OUT: ("out", _signed_out),
    AuditAction.USER_UNLOCKED: ("ok", _unlocked),
    AuditAction.USER_DELETED: ("trash", _plain("{actor} deleted {user}{because}")),
    AuditAction.USER_INVITED: ("mail", _plain("{actor} made a link with which {user} sets a password")),
    AuditAction.USER_PERMISSIONS_UPDATED: ("shield", _permissions),
    AuditAction.USER_ATTRIBUTES_UPDATED: ("pen", _attributes(lambda told: told.user)),
    AuditAction.GROUP_CREATED: ("group", _plain("{actor} created {group}")),
    AuditAction.GROUP_UPDATED: ("group", _plain("{actor} changed {group}")),
    AuditAction.GROUP_DELETED: ("trash", _plain("{actor} deleted {group}")),
    AuditAction.GROUP_MEMBER_ADDED: ("group", _member("{} added {} to {}")),
    AuditAction.GROUP_MEMBER_REMOVED: ("group", _member("{} removed {} from {}")),
    AuditAction.GROUP_ATTRIBUTES_UPDATED: ("pen", _attributes(lambda told: told.thing("group"))),
    AuditAction.PROJECT_CREATED: ("folder", _plain("{actor} created {project}")),
    AuditAction.PROJECT_UPDATED: ("folder", _project),
    AuditAction.PROJECT_DELETED: ("trash", _plain("{actor} deleted {project}")),
    AuditAction.SERVICE_ACCOUNT_CREATED: ("bot", _plain("{actor} created the service account {user}")),
    AuditAction.SERVICE_ACCOUNT_TRANSFERRED: ("send", _transferred),
    AuditAction.RESOURCE_CREATED: ("api", _plain("{actor} added {API}")),
    AuditAction.RESOURCE_UPDATED: ("api", _plain("{actor} changed {API}")),
    AuditAction.RESOURCE_DELETED: ("trash", _plain("{actor} deleted {API}")),
}
"""Of each action its icon and its words, without the full stop. A sentence may begin with a small letter."""

TOLD = frozenset(_WORDS)
"""The actions that have a sentence."""
