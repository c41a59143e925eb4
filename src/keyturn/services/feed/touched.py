"""From rows of the audit log to the things whose state the feed sends again."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from keyturn.core.audit import AuditedChange, Effect, Target, effect_of


@dataclass(slots=True)
class Touched:
    """The things that some changes are about, each once."""

    users: set[int] = field(default_factory=set)
    whole_users: set[int] = field(default_factory=set)
    """With all their keys."""
    sessions_of: set[int] = field(default_factory=set)
    """Users, with all their sessions."""
    keys: set[int] = field(default_factory=set)
    sessions: set[int] = field(default_factory=set)
    jtis: set[str] = field(default_factory=set)
    has_rules: bool = False
    """Whether what anybody may hold may have changed."""
    has_signing_keys: bool = False

    @property
    def is_at_large(self) -> bool:
        """Whether this is about any number of things, and not about named ones alone."""
        return self.has_rules or bool(self.sessions_of) or bool(self.whole_users)

    def add(self, change: AuditedChange) -> bool:
        """Take in a change; return False if what it is about cannot be named."""
        effect = effect_of(change.action)
        if effect is Effect.NOTHING:
            return True
        if effect is Effect.CHANGES_MEMBER and change.user_id is not None:
            self.users.add(change.user_id)
            return True
        match change.target_type, change.target_id:
            case Target.TOKEN, str(jti):
                self.jtis.add(jti)
            case Target.SIGNING_KEY, _:
                self.has_signing_keys = True
            case ((Target.RESOURCE | Target.GROUP), _):
                self.has_rules = True
            case (Target.USER | Target.API_KEY | Target.SESSION) as kind, str(number) if number.isdecimal():
                self._add_numbered(kind, int(number), change)
            case _:
                return False
        return True

    def _add_numbered(self, kind: str, number: int, change: AuditedChange) -> None:
        match kind:
            case Target.API_KEY:
                self.keys.add(number)
            case Target.SESSION:
                self.sessions.add(number)
            case _:
                self.users.add(number)
                self.keys.update(change.key_ids)
                if effect_of(change.action) is Effect.CHANGES:
                    self.whole_users.add(number)
                if change.session_id is None:
                    self.sessions_of.add(number)
                else:  # Each login of somebody would else tell of all their sessions again.
                    self.sessions.add(change.session_id)


def touched_by(changes: Iterable[AuditedChange]) -> Touched | None:
    """Return what these changes are about, or None if that cannot be named of one of them."""
    touched = Touched()
    return touched if all(map(touched.add, changes)) else None
