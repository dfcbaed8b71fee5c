"""Alembic migrations: the only place where a schema changes."""
