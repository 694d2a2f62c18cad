"""Archives of pg_dump (custom, directory, tar): read their contents, restore them by pg_restore."""
