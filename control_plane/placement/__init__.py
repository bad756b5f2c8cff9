"""Which machines, where, and bought how: the cheapest that meet what deployments need (pure)."""
