"""The judgement: what was measured, and what text alone can tell, become findings and a verdict. Pure."""

from __future__ import annotations
