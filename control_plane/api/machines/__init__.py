"""The routes of machines that join."""
