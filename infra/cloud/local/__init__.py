"""The cloud of one machine: a host daemon whose instances are agent processes."""
