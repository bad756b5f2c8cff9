"""The routes of instances."""
