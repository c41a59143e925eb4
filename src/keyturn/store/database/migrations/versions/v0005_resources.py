"""Registered APIs with their scopes, and keys that only the holder of a key pair may present."""

import sqlalchemy as sa
from alembic import op

# What the types of `store.schema` are stored as. A migration never imports the schema, which moves on.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.BigInteger()

revision = "0005"
down_revision = "0004"
kind = "expand"


def upgrade() -> None:
    """Add the column and the tables."""
    op.add_column("api_key", sa.Column("jkt", sa.String(length=64), nullable=True))
    op.create_table(
        "resource",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.String(length=254), nullable=False),
        sa.Column("identifier", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resource")),
        sa.UniqueConstraint("name", name=op.f("uq_resource_name")),
        sa.UniqueConstraint("identifier", name=op.f("uq_resource_identifier")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "resource_scope",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("resource_id", _ID, nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("is_for_everyone", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["resource_id"],
            ["resource.id"],
            name=op.f("fk_resource_scope_resource_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_resource_scope")),
    )
    op.create_index("ix_resource_scope_resource_id", "resource_scope", ["resource_id"])
    op.create_table(
        "resource_scope_group",
        sa.Column("scope", sa.String(length=128), nullable=False),
        sa.Column("group_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["scope"],
            ["resource_scope.name"],
            name=op.f("fk_resource_scope_group_scope"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["user_group.id"],
            name=op.f("fk_resource_scope_group_group_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("scope", "group_id", name=op.f("pk_resource_scope_group")),
    )
    op.create_index("ix_resource_scope_group_group_id", "resource_scope_group", ["group_id"])
