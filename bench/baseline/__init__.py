"""Programs to compare with: as little as does the same work. They import nothing of the project."""
