"""Changes of rows: the tables that a migration touched, in the clone and in the template database."""
