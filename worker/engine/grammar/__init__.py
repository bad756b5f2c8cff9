"""Outputs that must match a grammar (llguidance): compiled once, followed token by token."""
