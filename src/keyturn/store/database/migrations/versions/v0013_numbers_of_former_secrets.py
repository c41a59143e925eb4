"""Which secret a former one was."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
kind = "contract"
rows_of = ("api_key", "former_secret")

_KEY = sa.table("api_key", sa.column("id"), sa.column("secret_number"))
_FORMER = sa.table("former_secret", sa.column("key_id"), sa.column("secret_number"))


def upgrade() -> None:
    """Number the former secrets.

    A token from before says no number, which is 0. Of a key that was rotated before secrets had numbers it
    must not be taken for one of the present secret: that one gets another number.
    """
    op.add_column(
        "former_secret", sa.Column("secret_number", sa.BigInteger(), nullable=False, server_default="0")
    )
    rotated = sa.select(_FORMER.c.key_id)
    op.execute(
        sa.update(_KEY).where(_KEY.c.secret_number == 0, _KEY.c.id.in_(rotated)).values(secret_number=1)
    )
    present = sa.select(_KEY.c.secret_number).where(_KEY.c.id == _FORMER.c.key_id).scalar_subquery()
    op.execute(sa.update(_FORMER).values(secret_number=present - 1))
