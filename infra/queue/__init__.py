"""The job queue on Redis: see `queue.py` for what a caller does and `functions.lua` for how."""
