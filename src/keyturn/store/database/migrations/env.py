"""Alembic's entry: runs the scripts on the connection, and in the transaction, that `migrate` opened."""

from alembic import context

from keyturn.store.database.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
