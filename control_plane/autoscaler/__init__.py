"""How many replicas a deployment should have, and why (pure)."""
