"""Names: of projects, which may be those of others that nobody sees; of users, with what they look like."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import text

from keyturn.core.user_names import skeleton_of

revision = "0011"
down_revision = "0010"
kind = "contract"
rows_of = ("user_account", "project")


def upgrade() -> None:
    """Let two projects have one name, and tell of each user name what it looks like.

    Names from before that look the same stay as they are.
    """
    _add_skeletons()
    if op.get_bind().dialect.name == "sqlite":
        _make_anew()
    else:
        op.drop_constraint(op.f("uq_project_name"), "project", type_="unique")


def _add_skeletons() -> None:
    op.add_column("user_account", sa.Column("skeleton", sa.String(length=64), nullable=True))
    connection = op.get_bind()
    users = connection.execute(text("SELECT id, userid FROM user_account")).all()
    skeletons = [{"number": number, "skeleton": skeleton_of(userid)} for number, userid in users]
    if skeletons:
        connection.execute(text("UPDATE user_account SET skeleton = :skeleton WHERE id = :number"), skeletons)
    op.create_index("ix_user_account_skeleton", "user_account", ["skeleton"])


def _make_anew() -> None:
    """Make the table anew, as SQLite must.

    With the old one goes whatever refers to it, and the highest number that a project ever had: both are
    put aside, since a number never means another project.
    """
    highest = op.get_bind().execute(text("SELECT seq FROM sqlite_sequence WHERE name = 'project'")).scalar()
    op.execute("CREATE TABLE kept_member AS SELECT * FROM project_member")
    op.execute("CREATE TABLE kept_connection AS SELECT * FROM project_connection")
    with op.batch_alter_table("project", table_kwargs={"sqlite_autoincrement": True}) as project:
        project.drop_constraint(op.f("uq_project_name"), type_="unique")
    op.execute("INSERT INTO project_member SELECT * FROM kept_member")
    op.execute("INSERT INTO project_connection SELECT * FROM kept_connection")
    op.execute("DROP TABLE kept_member")
    op.execute("DROP TABLE kept_connection")
    if highest is not None:
        op.execute("DELETE FROM sqlite_sequence WHERE name = 'project'")
        put_back = text("INSERT INTO sqlite_sequence (name, seq) VALUES ('project', :highest)")
        op.execute(put_back.bindparams(highest=highest))
