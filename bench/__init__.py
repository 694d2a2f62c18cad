"""Measure whole runs in comparison with psql and a minimal runner: `python -m bench`, see docs/benchmarks.md."""
