"""The routes of operations."""
