"""The routes of models."""
