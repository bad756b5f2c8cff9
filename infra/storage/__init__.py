"""Object stores behind one protocol."""
