"""The application's queries, before and after the migrations: which break, and which become more expensive."""
