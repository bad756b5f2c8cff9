"""The routes of keys."""
