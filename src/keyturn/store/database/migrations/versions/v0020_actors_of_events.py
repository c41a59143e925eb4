"""The events that one user caused, found without reading the whole audit log."""

from alembic import op

revision = "0020"
down_revision = "0019"
kind = "expand"
rows_of = ("audit",)


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_audit_actor_user_id", "audit", ["actor_user_id"])
