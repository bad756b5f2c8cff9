"""Shared fixtures live in `tests/fixtures`, one noun a file."""

pytest_plugins = ["tests.fixtures.smollm2", "tests.fixtures.tiny_llama", "tests.fixtures.valkey"]
