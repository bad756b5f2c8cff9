"""Durable requests on Redis: their logs, their owners, and the keys that clients repeat them by."""
