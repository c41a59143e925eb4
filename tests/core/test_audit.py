"""The audit log's words: what each action does to credentials, told in one table."""

import pytest

from keyturn.core.audit import LEAVES_RULES, AuditAction, Effect, Target, effect_of

CHANGES_RULES = {Target.GROUP, Target.INSTALLATION, Target.RESOURCE}


def test_an_action_that_nobody_wrote_down_changes_everything() -> None:
    """A new action, or one of a newer program, costs speed and never safety (R3)."""
    assert effect_of("UserMerged") is Effect.CHANGES


@pytest.mark.parametrize(
    "action", [action for action in AuditAction if action.endswith(("Deleted", "Revoked"))]
)
def test_nothing_that_ends_something_is_harmless(action: AuditAction) -> None:
    """What deletes or revokes is forgotten, but for projects and connections, on which no verdict stands."""
    harmless = {AuditAction.PROJECT_DELETED, AuditAction.CONNECTION_DELETED}
    assert (effect_of(action) is Effect.CHANGES) is (action not in harmless)


def test_each_target_changes_the_rules_or_leaves_them() -> None:
    """A new target has to be put on one side: to forget it here would leave stale rules in force."""
    assert set(Target) == LEAVES_RULES | CHANGES_RULES
    assert not LEAVES_RULES & CHANGES_RULES
