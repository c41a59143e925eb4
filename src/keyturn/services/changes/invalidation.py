"""A change ends the remembered verdicts that it may have made wrong: here a revoked key loses its tokens.

A verdict depends on its user, key, session and token (`verifying.verdict_cache.Dependency`). A row of the
audit log names its target, and `core.audit.effect_of` says what the action does to the target: a revoked key
ends every verdict that depends on it, those of its tokens among them. A target of another type ends them all.
"""

from collections.abc import Mapping, Sequence

from keyturn.core.audit import AuditAction, AuditedChange, Effect, Target, effect_of
from keyturn.verifying.verdict_cache import DependencyKind, VerdictCache

_KINDS: Mapping[str, DependencyKind] = {
    Target.USER: DependencyKind.USER,
    Target.API_KEY: DependencyKind.KEY,
    Target.SESSION: DependencyKind.SESSION,
    Target.TOKEN: DependencyKind.TOKEN,
}


class Invalidation:
    """Makes a cache of verdicts forget; a subscriber of `ChangeReader`."""

    def __init__(self, verdicts: VerdictCache) -> None:
        self._verdicts = verdicts

    def __call__(self, changes: Sequence[AuditedChange] | None) -> None:
        """Forget the verdicts that these changes may have made wrong; all of them for None."""
        if changes is None:
            self._verdicts.forget_everything()
            return
        touched: list[tuple[DependencyKind, int | str]] = []
        has_foreign = False
        for change in changes:
            effect = effect_of(change.action)
            if effect is Effect.NOTHING or effect is Effect.BEGINS:
                continue
            has_foreign = has_foreign or change.action == AuditAction.API_KEY_IMPORTED
            if effect is Effect.CHANGES_MEMBER and change.user_id is not None:
                touched.append((DependencyKind.USER, change.user_id))
                continue
            match _KINDS.get(change.target_type), change.target_id:
                case DependencyKind.TOKEN, str(jti):
                    touched.append((DependencyKind.TOKEN, jti))
                case DependencyKind() as kind, str(number) if number.isdecimal():
                    touched.append((kind, int(number)))
                case _:
                    self._verdicts.forget_everything()
                    return
        self._verdicts.forget(touched, negatives=has_foreign)
