"""Values into text: the terminal, JSON."""
