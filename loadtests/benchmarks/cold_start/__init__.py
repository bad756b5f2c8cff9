"""How long nothing takes to become a first token."""
