"""By what people are found and ordered."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import text

from keyturn.core.folding import searched_text

revision = "0018"
down_revision = "0017"
kind = "contract"
rows_of = ("profile",)


def upgrade() -> None:
    """Fold the names of those who are there."""
    op.add_column("profile", sa.Column("searched", sa.Text(), nullable=False, server_default=text("''")))
    connection = op.get_bind()
    people = connection.execute(
        text("SELECT p.id, u.userid, p.name, p.email FROM profile p JOIN user_account u ON u.id = p.user_id")
    ).all()
    found_by = [{"number": number, "searched": searched_text(*said)} for number, *said in people]
    if found_by:
        connection.execute(text("UPDATE profile SET searched = :searched WHERE id = :number"), found_by)
