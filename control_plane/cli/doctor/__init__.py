"""`tamer doctor`: what commonly goes wrong, one line each, with what to type."""
