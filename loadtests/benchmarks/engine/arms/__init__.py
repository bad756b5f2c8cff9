"""One process each. They run in environments that need not have anything of ours installed, so
these modules import the standard library, one engine, and one another."""
