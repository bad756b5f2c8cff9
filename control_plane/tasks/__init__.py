"""Long side effects, carried out by Celery: launch, terminate, import.

Start a worker with `python -m control_plane.tasks`, which is

    python -m celery -A control_plane.tasks.app worker --pool threads --concurrency 4 \\
        --without-gossip --without-mingle --without-heartbeat

A message carries the id of an operation row and nothing else. The row is claimed with a token, so
that a message that comes twice does nothing the second time, and one that is lost is sent again by
the controller. Losing the broker with all that is in it loses nothing.
"""
