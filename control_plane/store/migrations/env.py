"""What Alembic runs. The connection, with its transaction and its lock, comes from `upgrade.py`."""

from alembic import context

from control_plane.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
