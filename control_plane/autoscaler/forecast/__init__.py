"""What demand will be when capacity that is asked for now is there (pure)."""
