"""The `tamer` command: it speaks HTTP to the platform, and starts it on one machine."""
