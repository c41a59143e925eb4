"""Which steps the schema took, and whose servers go on with each: for a program that knows no later ones."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
kind = "expand"


def upgrade() -> None:
    """Add the table. Programs that know no such table know every step up to this one."""
    op.create_table(
        "schema_step",
        sa.Column("revision", sa.String(length=32), nullable=False),
        sa.Column("needs", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_schema_step")),
    )
