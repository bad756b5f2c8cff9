"""An engine without a model: tokens at a declared rate, each a hash of its whole context."""
