"""People, groups, projects and their credentials as plain Python: what the services should come to."""

from __future__ import annotations

from dataclasses import dataclass, field

from keyturn.core.audit import AuditAction
from keyturn.core.people import UserKind
from keyturn.core.permissions import ADMINISTRATION

Attribute = tuple[str, str]
Row = tuple[AuditAction, str]
"""What the audit log says of a change: what, and of which target."""


class Refused(Exception):
    """The change does not happen, and leaves no trace."""


@dataclass(eq=False)
class Group:
    """A group."""

    number: int
    name: str
    attributes: set[Attribute] = field(default_factory=set)


@dataclass(eq=False)
class Account:
    """A user of any kind."""

    number: int
    userid: str
    kind: UserKind
    permissions: frozenset[str]
    owner: Account | Group | None = None
    attributes: set[Attribute] = field(default_factory=set)
    groups: set[Group] = field(default_factory=set)
    is_disabled: bool = False
    is_stopped_with_owner: bool = False
    is_deleted: bool = False
    link: str | None = None
    """The code of the one invitation that is good."""


@dataclass(eq=False)
class Project:
    """A project with one connection."""

    number: int
    name: str
    owners: set[Account]
    members: set[Account] = field(default_factory=set)
    is_deleted: bool = False


@dataclass(eq=False)
class Credential:
    """A key, a token of a key, or a session."""

    text: str
    owner: Account
    number: int = 0
    key: Credential | None = None
    """The key that a token stands on."""
    is_session: bool = False
    project: Project | None = None
    is_over: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether the next call with it passes."""
        if self.is_over or self.owner.is_deleted or self.owner.is_disabled:
            return False
        return self.key is None or self.key.is_alive


@dataclass
class PlainPeople:
    """Everybody and everything."""

    accounts: dict[str, Account] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    projects: dict[str, Project] = field(default_factory=dict)
    credentials: list[Credential] = field(default_factory=list)
    links: list[tuple[str, Account]] = field(default_factory=list)
    """The code of every invitation that was ever made."""
    log: list[Row] = field(default_factory=list)
    """Every row of the audit log, in order."""

    def administrators(self, permission: str) -> list[Account]:
        return [
            account
            for account in self.accounts.values()
            if account.kind is UserKind.PERSON
            and not account.is_disabled
            and permission in account.permissions
        ]

    def owned_by(self, owner: Account | Group) -> list[Account]:
        owned = [account for account in self.accounts.values() if account.owner is owner]
        return sorted(owned, key=lambda account: account.number)

    def tell(self, action: AuditAction, target: object) -> None:
        number = target.number if isinstance(target, Account | Group | Project | Credential) else target
        self.log.append((action, str(number)))

    # Changes of one account

    def set_permissions(self, account: Account, permissions: frozenset[str]) -> None:
        """Change what an account may do; raise `Refused` for the last administrator."""
        if permissions == account.permissions:
            return
        if not account.is_disabled:
            self._check_spared(account, account.permissions - permissions)
        if permissions - account.permissions:
            account.link = None  # Whoever made it may not give what the account has from now on.
        account.permissions = permissions
        self.tell(AuditAction.USER_PERMISSIONS_UPDATED, account)

    def disable(self, account: Account, successor: Account | None) -> None:
        """Stop an account and what it owns."""
        if account.is_disabled and not account.is_stopped_with_owner:
            return
        if not account.is_disabled:
            self._check_spared(account, account.permissions)
        account.is_disabled, account.is_stopped_with_owner = True, False
        account.link = None
        self.end_sessions(account)
        self.end_tokens(account)
        self.tell(AuditAction.USER_DISABLED, account)
        for owned in self.owned_by(account):
            if successor is not None:
                self._give(owned, successor)
            elif not owned.is_disabled:
                owned.is_disabled = owned.is_stopped_with_owner = True
                self.end_tokens(owned)
                self.tell(AuditAction.USER_DISABLED, owned)

    def enable(self, account: Account) -> None:
        """Let an account go on, and what stopped with it."""
        if not account.is_disabled:
            return
        account.is_disabled = account.is_stopped_with_owner = False
        self.tell(AuditAction.USER_ENABLED, account)
        for owned in self.owned_by(account):
            if owned.is_stopped_with_owner:
                owned.is_disabled = owned.is_stopped_with_owner = False
                self.tell(AuditAction.USER_ENABLED, owned)

    def delete(self, account: Account, successor: Account | None) -> None:
        """End an account and what it owns for ever."""
        if not account.is_disabled:
            self._check_spared(account, account.permissions)
        self.tell(AuditAction.USER_DELETED, account)
        self._forget(account)
        self._end_owned(account, successor)

    def delete_group(self, group: Group, successor: Account | None) -> None:
        self.tell(AuditAction.GROUP_DELETED, group)
        del self.groups[group.name]
        for account in self.accounts.values():
            account.groups.discard(group)
        self._end_owned(group, successor)

    def transfer(self, account: Account, owner: Account | Group) -> None:
        if account.owner is not owner:
            self._give(account, owner)

    def change_attribute(
        self, of: Account | Group, attribute: Attribute, action: AuditAction, *, is_given: bool
    ) -> None:
        if (attribute in of.attributes) is is_given:
            return
        (of.attributes.add if is_given else of.attributes.remove)(attribute)
        self.tell(action, of)

    def delete_project(self, project: Project) -> None:
        """End a project and, each with its row, the keys that are linked to it."""
        project.is_deleted = True
        del self.projects[project.name]
        self.tell(AuditAction.PROJECT_DELETED, project)
        linked = [key for key in self.credentials if key.project is project and key.key is None]
        for key in sorted(linked, key=lambda key: key.number):
            if not key.is_over and not key.owner.is_deleted:
                key.is_over = True
                self.tell(AuditAction.API_KEY_DELETED, key)

    # Credentials

    def end_sessions(self, account: Account) -> None:
        for credential in self.credentials:
            if credential.owner is account and credential.is_session:
                credential.is_over = True

    def end_tokens(self, account: Account) -> None:
        for credential in self.credentials:
            if credential.owner is account and credential.key is not None:
                credential.is_over = True

    # What changes bring about

    def _check_spared(self, account: Account, lost: frozenset[str]) -> None:
        """Raise `Refused` if nobody else is left who administers."""
        for permission in ADMINISTRATION:
            if permission in lost and not set(self.administrators(permission)) - {account}:
                raise Refused

    def _give(self, account: Account, owner: Account | Group) -> None:
        if account.is_stopped_with_owner:
            account.is_disabled = account.is_stopped_with_owner = False
        account.owner = owner
        self.tell(AuditAction.SERVICE_ACCOUNT_TRANSFERRED, account)

    def _end_owned(self, owner: Account | Group, successor: Account | None) -> None:
        for owned in self.owned_by(owner):
            if successor is not None:
                self._give(owned, successor)
            else:
                self.tell(AuditAction.USER_DELETED, owned)
                self._forget(owned)

    def _forget(self, account: Account) -> None:
        account.is_deleted = True
        del self.accounts[account.userid]
        for project in self.projects.values():
            project.owners.discard(account)
            project.members.discard(account)
