"""What one streamed request was like, and what many of them say together (pure)."""
