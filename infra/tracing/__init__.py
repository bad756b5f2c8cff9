"""OpenTelemetry spans of the serving path: `span` records, `setup` says where they go.

A request has a handful of spans, never one for each token. With tracing off, which is the default,
recording is one comparison, and OpenTelemetry is not even imported.
"""
