"""The code uses standard terms: words of the former private idiom do not come back."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
FORMER_WORDS = re.compile(r"\b(?:told|wish|telling|desk|its_[a-z]+|somebody|nobody)\b")

# Where such a word is right: the file, a pattern of the text, and the reason.
ALLOWED = (("kernel/postgres/account.py", r"\bnobody\b", "the name of an account of the operating system"),)


def test_the_code_has_no_word_of_the_former_idiom() -> None:
    occurrences = []
    for path in (PROJECT / "tasks.py", *sorted((PROJECT / "kernel").rglob("*.py"))):
        name = str(path.relative_to(PROJECT))
        allowed = [pattern for file, pattern, _ in ALLOWED if file == name]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            text = re.sub("|".join(allowed), "", line) if allowed else line
            occurrences += [f"{name}:{number}: {word}" for word in FORMER_WORDS.findall(text)]
    assert not occurrences, "\n".join(occurrences)
