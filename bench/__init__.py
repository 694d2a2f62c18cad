"""How long the whole process takes beside psql and a plain loop: `python -m bench`, see docs/benchmarks.md."""
