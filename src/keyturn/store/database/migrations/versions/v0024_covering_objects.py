"""Objects behind connections, listed and searched in an index alone."""

from alembic import op

revision = "0024"
down_revision = "0023"
kind = "expand"
rows_of = ("data_object",)


def upgrade() -> None:
    """Put what decides whether a version is shown into both indexes."""
    for name, columns in (
        ("ix_data_object_children", ["connection_id", "parent_digest", "searched"]),
        ("ix_data_object_searched", ["connection_id", "searched"]),
    ):
        op.drop_index(name, "data_object")
        op.create_index(name, "data_object", [*columns, "id", "since", "until"])
