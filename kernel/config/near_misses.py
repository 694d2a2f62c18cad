"""Find variables whose name is nearly that of a setting: what they were to set would silently have no effect.

Without a database URL the embedded server is used, so that `DATABSE_URL` would migrate another database than is meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

KERNEL_PREFIX = "KERNEL_"
# Compared without the prefix. Similar enough: KERNEL_LOCK_RETRY, KERNEL_PG_BIN_DIR; not: KERNEL_STORAGE_PATH.
_MISSPELLING_SIMILARITY = 0.81
# Other usual names for the URL of an application's database. POSTGRES_URL is not one of them: hosts and images set it.
URL_ALIASES = frozenset({"DB_URL", "DBURL", "DB_URI", "DATABASE_DSN", "DB_DSN"})


def nearest_setting(name: str, known: Sequence[str]) -> str | None:
    """The known name that an unknown one is a misspelling of, None for a name of something else.

    Names that begin with KERNEL_ are ours and may differ more; those of URLs by case, separators and one typing error,
    the others by case only.
    """
    if not name.isascii():
        return None
    upper, letters = name.upper(), _letters(name)
    if upper in known:
        return upper
    if upper.startswith(KERNEL_PREFIX):
        from difflib import get_close_matches  # noqa: PLC0415 - rarely needed

        unprefixed = {one.removeprefix(KERNEL_PREFIX): one for one in known if one.startswith(KERNEL_PREFIX)}
        near = get_close_matches(upper.removeprefix(KERNEL_PREFIX), unprefixed, n=1, cutoff=_MISSPELLING_SIMILARITY)
        return unprefixed[near[0]] if near else None
    urls = [one for one in known if one.endswith("_URL")]
    return next((one for one in urls if _is_misspelling(letters, _letters(one))), None)


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).upper()


def _is_misspelling(one: str, other: str) -> bool:
    """Whether texts are equal, or one letter is added, left out, replaced or exchanged with the next.

    Digits are there on purpose, as in DATABASE_URL_2.
    """
    if abs(len(one) - len(other)) > 1 or any(map(str.isdigit, one)):
        return False
    begin = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    one, other = one[begin:], other[begin:]
    return (
        one[1:] == other[1:]
        or one[1:] == other
        or one == other[1:]
        or (one[:2] == other[1::-1] and one[2:] == other[2:])
    )
