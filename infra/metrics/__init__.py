"""Prometheus metrics of every process: one registry, one prefix, one way to be read.

A wing's metrics are named in a `metrics.py` beside the code that sets them. Labels are bounded:
deployment, revision, state, outcome and their like; never a tenant, a key, a request or a job.
"""
