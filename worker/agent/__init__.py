"""One agent per instance: it joins, runs replicas in its slots, pulls jobs for them, and leaves."""
