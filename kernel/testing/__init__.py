"""Databases for application tests: clones of a template with the migrations applied. See docs/testing.md.

aibos_kernel_pytest.py, the pytest plugin, imports the package when the first test requests a fixture.
"""

from __future__ import annotations
