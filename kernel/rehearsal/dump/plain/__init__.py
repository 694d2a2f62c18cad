"""Plain dumps (SQL text): scan the text, load it over the protocol, in parallel."""
