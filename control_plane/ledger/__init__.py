"""What machines cost, who used them, and what their owners allow (pure)."""
