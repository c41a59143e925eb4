"""The registry of connections: states, objects and their settings, and jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
kind = "expand"

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables. Connections that are there are active, and were never crawled."""
    for column in (
        sa.Column("native_integration", sa.Text, nullable=True),
        sa.Column("state", sa.String(16), nullable=False, server_default="ACTIVE"),
        sa.Column("state_reason", sa.Text, nullable=True),
        sa.Column("generation", sa.Integer, nullable=False, server_default="0"),
        sa.Column("crawl_number", sa.Integer, nullable=False, server_default="0"),
        sa.Column("crawled_at", sa.BigInteger, nullable=True),
        sa.Column("crawl_every_hours", sa.Integer, nullable=True),
    ):
        op.add_column("connection", column)
    _create_objects()
    _create_settings()
    _create_jobs()


def _create_objects() -> None:
    op.create_table(
        "data_object",
        sa.Column("id", _Id, nullable=False),
        sa.Column("connection_id", _Id, nullable=False),
        sa.Column("path_digest", sa.LargeBinary, nullable=False),
        sa.Column("parent_digest", sa.LargeBinary, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("searched", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("comment", sa.Text, nullable=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("column_count", sa.Integer, nullable=False),
        sa.Column("first", sa.Integer, nullable=False),
        sa.Column("since", sa.Integer, nullable=False),
        sa.Column("until", sa.Integer, nullable=False),
        _belongs_to("data_object", "connection"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_object")),
        sa.UniqueConstraint(
            "connection_id", "path_digest", "since", name=op.f("uq_data_object_connection_id")
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "data_object_columns",
        sa.Column("object_id", _Id, nullable=False),
        sa.Column("columns", sa.Text, nullable=False),
        _belongs_to("data_object_columns", "data_object", "object_id"),
        sa.PrimaryKeyConstraint("object_id", name=op.f("pk_data_object_columns")),
    )
    op.create_index("ix_data_object_children", "data_object", ["connection_id", "parent_digest", "searched"])
    op.create_index("ix_data_object_searched", "data_object", ["connection_id", "searched"])


def _create_settings() -> None:
    op.create_table(
        "object_settings",
        sa.Column("connection_id", _Id, nullable=False),
        sa.Column("path_digest", sa.LargeBinary, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=True),
        sa.Column("activates_new_children", sa.Boolean, nullable=True),
        sa.Column("later_than", sa.Integer, nullable=False),
        sa.Column("overridden_roles", sa.Text, nullable=False),
        _belongs_to("object_settings", "connection"),
        sa.PrimaryKeyConstraint("connection_id", "path_digest", name=op.f("pk_object_settings")),
    )
    op.create_table(
        "object_role",
        sa.Column("id", _Id, nullable=False),
        sa.Column("connection_id", _Id, nullable=False),
        sa.Column("path_digest", sa.LargeBinary, nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("user_id", _Id, nullable=True),
        sa.Column("group_id", _Id, nullable=True),
        sa.CheckConstraint("(user_id IS NULL) <> (group_id IS NULL)", name=op.f("ck_object_role_one_holder")),
        _belongs_to("object_role", "connection"),
        _belongs_to("object_role", "user_account", "user_id"),
        _belongs_to("object_role", "user_group", "group_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_object_role")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_object_role_place", "object_role", ["connection_id", "path_digest"])
    op.create_index("ix_object_role_user_id", "object_role", ["user_id"])
    op.create_index("ix_object_role_group_id", "object_role", ["group_id"])


def _create_jobs() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("connection_id", _Id, nullable=False),
        sa.Column("connection_key", sa.String(255), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", _Id, nullable=True),
        sa.Column("started_at", sa.BigInteger, nullable=True),
        sa.Column("seen_at", sa.BigInteger, nullable=True),
        sa.Column("ended_at", sa.BigInteger, nullable=True),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("expected", sa.Integer, nullable=True),
        sa.Column("is_cancel_asked", sa.Boolean, nullable=False),
        sa.Column("output", sa.Text, nullable=False),
        sa.Column("occupied_id", _Id, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("occupied_id", name=op.f("uq_job_occupied_id")),
    )
    op.create_index("ix_job_created_at", "job", ["created_at"])


def _belongs_to(table: str, parent: str, column: str = "connection_id") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{parent}.id"], ondelete="CASCADE", name=op.f(f"fk_{table}_{column}")
    )
