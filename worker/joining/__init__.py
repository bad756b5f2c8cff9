"""`tamer worker join`: this machine becomes an instance, until it leaves."""
