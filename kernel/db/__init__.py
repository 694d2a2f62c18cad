"""The database of the settings: connection, ledger, advisory lock."""
