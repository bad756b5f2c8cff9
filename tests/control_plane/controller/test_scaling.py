"""What an owner says about the number of replicas, in a controller over real stores and queues."""

from __future__ import annotations
