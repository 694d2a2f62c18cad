"""Foreign keys of large tables, proven by a query of our own, which the server runs on several processors.

ADD FOREIGN KEY checks the rows by a query that is asked for one row, and such a query never runs in parallel
(RI_Initial_Check in ri_triggers.c, ExecutePlan in execMain.c). So the key is added NOT VALID, which binds every row
from then on; the same question is asked of the rows that are there, as the role that loads; and when it finds none, the
catalog is told that the key is valid, by the superuser of a server of our own. That is what VALIDATE CONSTRAINT would
do, and it leaves the catalog as one that was added valid does. Whatever does not fit is added as the dump has it, so
that the server itself says what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from kernel.rehearsal.dump import ours

if TYPE_CHECKING:
    import re

    from kernel.database import Connection
    from kernel.rehearsal.dump.hand import Hand

LEAST_BYTES = 32 << 20  # of the table in the dump: below that, asking takes longer than it saves

_NOT_VALID = b" NOT VALID;"
# Between ordinary tables, whose keys have no others beneath them. An operator is given the types that it is for, as
# ri_GenerateQual does; of polymorphic ones (arrays, enums, ranges) and of different collations the server knows more.
# Where rows have policies, the question might not see all of them.
_QUESTION = """
SELECT c.oid, format(
  'SELECT pg_catalog.count(*) FROM ONLY %%I.%%I f LEFT JOIN ONLY %%I.%%I p ON %%s WHERE p.%%I IS NULL AND (%%s)',
  fn.nspname, f.relname, pn.nspname, p.relname, string_agg(k.met, ' AND ' ORDER BY k.place),
  min(k.key) FILTER (WHERE k.place = 1),
  string_agg(k.given, CASE c.confmatchtype WHEN 'f' THEN ' OR ' ELSE ' AND ' END ORDER BY k.place))
FROM pg_constraint c
JOIN pg_class f ON f.oid = c.conrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
JOIN pg_class p ON p.oid = c.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
CROSS JOIN LATERAL (
  SELECT place, pa.attname::text AS key, format('f.%%I IS NOT NULL', fa.attname) AS given,
    format('p.%%I::%%I.%%I OPERATOR(%%I.%%s) f.%%I::%%I.%%I',
      pa.attname, ln.nspname, l.typname, n.nspname, o.oprname, fa.attname, rn.nspname, r.typname) AS met,
    pa.attcollation = fa.attcollation AND l.typtype <> 'p' AND r.typtype <> 'p' AS plain
  FROM unnest(c.conkey, c.confkey, c.conpfeqop) WITH ORDINALITY AS u (foreign_column, key_column, operator, place)
  JOIN pg_attribute fa ON fa.attrelid = c.conrelid AND fa.attnum = foreign_column
  JOIN pg_attribute pa ON pa.attrelid = c.confrelid AND pa.attnum = key_column
  JOIN pg_operator o ON o.oid = operator JOIN pg_namespace n ON n.oid = o.oprnamespace
  JOIN pg_type l ON l.oid = o.oprleft JOIN pg_namespace ln ON ln.oid = l.typnamespace
  JOIN pg_type r ON r.oid = o.oprright JOIN pg_namespace rn ON rn.oid = r.typnamespace
) k
WHERE c.conrelid = to_regclass(%s) AND c.conname = (parse_ident(%s))[1] AND c.contype = 'f' AND NOT c.convalidated
  AND f.relkind = 'r' AND p.relkind = 'r' AND NOT f.relrowsecurity AND NOT p.relrowsecurity
GROUP BY c.oid, c.confmatchtype, fn.nspname, f.relname, pn.nspname, p.relname
HAVING bool_and(k.plain)
"""
_VALID = "UPDATE pg_constraint SET convalidated = true WHERE oid = %s AND contype = 'f' AND NOT convalidated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A foreign key that is there, and whose rows are still to be looked at: `question` counts those that break it."""

    constraint: int
    question: str
    withdrawal: bytes


def promised(hand: Hand, superuser: Connection, statement: re.Match[bytes]) -> Promise | None:
    """Add the key that shape.key matched as a promise; None when it does not fit, and then nothing is there.

    Raises RestoreFailed when the server cannot go on.
    """
    if hand.run(statement[0].removesuffix(b";") + _NOT_VALID):
        return None
    withdrawal = b"ALTER TABLE ONLY %b DROP CONSTRAINT %b" % (statement["exclusive"], statement["name"])
    with ours.undisturbed(superuser):
        names = (statement["exclusive"].decode(errors="replace"), statement["name"].decode(errors="replace"))
        found = superuser.execute(_QUESTION, names).fetchone()
    if found is None:
        hand.run(withdrawal)
        return None
    constraint, question = found
    return Promise(constraint=constraint, question=question, withdrawal=withdrawal)


def kept(hand: Hand, promise: Promise) -> bool:
    """Whether no row breaks the key, by the rights and the settings of the role that loads; False when unknown."""
    try:
        return hand.connection.execute(promise.question.encode()).fetchone() == (0,)
    except psycopg.Error:
        return False  # short of memory, a function of the dump's own: the statement as written will tell


def accept(superuser: Connection, promise: Promise) -> bool:
    """Have the catalog say that the key is valid; False when it is gone. Raises psycopg.Error."""
    with ours.undisturbed(superuser):
        return superuser.execute(_VALID, (promise.constraint,)).rowcount == 1
