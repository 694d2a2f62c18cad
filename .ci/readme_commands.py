"""Print the first or second command of the README's quick start: `readme_commands.py 1` or `2`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

QUICK_START = re.compile(r"^## Quick start$(.+?)^## ", re.DOTALL | re.MULTILINE)
BASH_BLOCK = re.compile(r"^```bash\n(.+?)^```$", re.DOTALL | re.MULTILINE)


def commands(readme: str) -> list[str]:
    """The commands of the quick start, in order. Raises ValueError unless there are two, each of one line."""
    section = QUICK_START.search(readme)
    blocks = BASH_BLOCK.findall(section[1]) if section else []
    lines = [block.rstrip("\n") for block in blocks]
    if len(lines) != 2 or any("\n" in line for line in lines):  # noqa: PLR2004 - the README's promise
        raise ValueError("the quick start of README.md is not two commands, each alone in its block")
    return lines


if __name__ == "__main__":
    readme = Path(__file__).resolve().parents[1] / "README.md"
    sys.stdout.write(commands(readme.read_text(encoding="utf-8"))[int(sys.argv[1]) - 1] + "\n")
