"""Traffic: the pending migrations run again, while sessions read and write the tables that they lock."""
