"""Readers for public traces of requests: when they came and how long they were."""
