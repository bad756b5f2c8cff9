"""Shared fixtures live in `tests/fixtures`, one noun a file."""

pytest_plugins = ["tests.fixtures.valkey", "tests.fixtures.database"]
