"""The linter: hazards of migrations, found in their text alone. `lint` is its public face."""
