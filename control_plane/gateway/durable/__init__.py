"""Durable requests at this gateway: `keeper` owns them, a `run` writes each one's log, an `answer`
is read from a log, and `endpoints` is what clients see."""
