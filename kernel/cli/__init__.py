"""One module for each task: its flags in, the kernel's answer out as text or JSON, and its exit code."""

from __future__ import annotations
