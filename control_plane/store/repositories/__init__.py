"""The statements, one repository a noun. They never commit: the caller's transaction does."""
