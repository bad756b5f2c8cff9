"""The store: tables, sessions, leases, migrations, and one repository a noun."""
