"""The routes of status."""
