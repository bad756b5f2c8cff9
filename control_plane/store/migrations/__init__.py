"""Alembic migrations, run by each process that writes to the store when it starts."""
