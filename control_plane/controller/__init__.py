"""Desired against actual, again and again: one reconciler a noun, each row under a lease.

`python -m control_plane.controller` runs it; several may run at once.
"""
