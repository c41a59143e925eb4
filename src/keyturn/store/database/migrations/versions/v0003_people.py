"""People: attributes, invitations, groups, projects, service accounts, system keys."""

import sqlalchemy as sa
from alembic import op

# What the types of `store.schema` are stored as. A migration never imports the schema, which moves on.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.BigInteger()
_JSON = sa.Text()

revision = "0003"
down_revision = "0002"
kind = "contract"
rows_of = ("api_key", "audit", "connection")


def upgrade() -> None:
    """Add the columns and the tables."""
    op.add_column(
        "user_account", sa.Column("kind", sa.String(length=16), nullable=False, server_default="person")
    )
    op.add_column("api_key", sa.Column("project_id", sa.BigInteger(), nullable=True))
    op.create_index("ix_api_key_project_id", "api_key", ["project_id"])
    # Who registered a connection stays written when they are gone.
    with op.batch_alter_table("connection", table_kwargs={"sqlite_autoincrement": True}) as connection:
        connection.drop_constraint(op.f("fk_connection_created_by"), type_="foreignkey")
        connection.drop_constraint(op.f("fk_connection_updated_by"), type_="foreignkey")
    _add_people()
    _add_service_accounts()
    _add_projects()
    op.create_table(
        "system_key",
        sa.Column("name", sa.String(length=254), nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("connection_key", sa.String(length=255), nullable=False),
        sa.Column("scopes", _JSON, nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        _refers("system_key", "key_id", "api_key", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_system_key")),
        sa.UniqueConstraint("key_id", name=op.f("uq_system_key_key_id")),
    )
    # Last, since changes lock in this order too: an older server may be at work.
    op.create_index("ix_audit_target", "audit", ["target_type", "target_id"])


def _add_people() -> None:
    for owner, referred in (("user", "user_account"), ("group", "user_group")):
        if owner == "group":
            op.create_table(
                "user_group",
                sa.Column("id", _ID, nullable=False),
                sa.Column("iamid", sa.String(length=64), nullable=False),
                sa.Column("name", sa.String(length=254), nullable=False),
                sa.Column("email", sa.String(length=254), nullable=True),
                sa.Column("description", sa.Text(), nullable=True),
                sa.Column("created_at", _TIME, nullable=False),
                sa.Column("updated_at", _TIME, nullable=False),
                sa.PrimaryKeyConstraint("id", name=op.f("pk_user_group")),
                sa.UniqueConstraint("iamid", "name", name=op.f("uq_user_group_iamid")),
                sqlite_autoincrement=True,
            )
        table = f"{owner}_attribute"
        op.create_table(
            table,
            sa.Column(f"{owner}_id", _ID, nullable=False),
            sa.Column("name", sa.String(length=254), nullable=False),
            sa.Column("value", sa.String(length=254), nullable=False),
            _refers(table, f"{owner}_id", referred, ondelete="CASCADE"),
            sa.PrimaryKeyConstraint(f"{owner}_id", "name", "value", name=op.f(f"pk_{table}")),
        )
    op.create_table(
        "invitation",
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        _refers("invitation", "user_id", "user_account", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_invitation")),
        sa.UniqueConstraint("digest", name=op.f("uq_invitation_digest")),
    )
    op.create_table(
        "group_member",
        sa.Column("id", _ID, nullable=False),
        sa.Column("group_id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        _refers("group_member", "group_id", "user_group", ondelete="CASCADE"),
        _refers("group_member", "user_id", "user_account", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_group_member")),
        sa.UniqueConstraint("group_id", "user_id", name=op.f("uq_group_member_group_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_group_member_user_id", "group_member", ["user_id"])


def _add_service_accounts() -> None:
    op.create_table(
        "service_account",
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("owner_user_id", _ID, nullable=True),
        sa.Column("owner_group_id", _ID, nullable=True),
        sa.Column("disabled_with_owner", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "(owner_user_id IS NULL) <> (owner_group_id IS NULL)", name=op.f("ck_service_account_one_owner")
        ),
        _refers("service_account", "user_id", "user_account", ondelete="CASCADE"),
        _refers("service_account", "owner_user_id", "user_account"),
        _refers("service_account", "owner_group_id", "user_group"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_service_account")),
    )
    for column in ("owner_user_id", "owner_group_id"):
        op.create_index(f"ix_service_account_{column}", "service_account", [column])


def _add_projects() -> None:
    op.create_table(
        "project",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.String(length=254), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_by", _ID, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
        sa.UniqueConstraint("name", name=op.f("uq_project_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "project_member",
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("is_owner", sa.Boolean(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        _refers("project_member", "project_id", "project", ondelete="CASCADE"),
        _refers("project_member", "user_id", "user_account", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_project_member")),
    )
    op.create_index("ix_project_member_user_id", "project_member", ["user_id"])
    op.create_table(
        "project_connection",
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("connection_id", _ID, nullable=False),
        _refers("project_connection", "project_id", "project", ondelete="CASCADE"),
        _refers("project_connection", "connection_id", "connection", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "connection_id", name=op.f("pk_project_connection")),
    )
    op.create_index("ix_project_connection_connection_id", "project_connection", ["connection_id"])


def _refers(
    table: str, column: str, referred: str, *, ondelete: str | None = None
) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{referred}.id"], name=op.f(f"fk_{table}_{column}"), ondelete=ondelete
    )
