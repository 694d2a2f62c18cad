"""A schema whose names and comments try to be more than text, on a page and in a diagram."""

from __future__ import annotations

from psycopg import sql

# Each is a name of a table, a column and a constraint, and a comment.
TEXTS = (
    'quote"d',
    "pi|pe",
    "back`tick``s",
    "<script>window.attacked = 1</script>",
    "<img src=x onerror=window.attacked=1>",
    "**bold** _it_ ~~gone~~",
    "[link](javascript:window.attacked=1)",
    "two\nlines\n# heading",
    "-->",
    "</code></td>",
    "&amp; &lt;b&gt;",
    "\\| \\` end\\",
    ":smile: @octocat $x^2$",
    '"] } t9 ||--o{ t1 : "x',
    "%% comment %%{init: {}}%%",
    "\u202etxet",
    "```\nfence",
    "#quot; #35;",
    "1. list",
)


def statements() -> sql.Composed:
    """CREATE TABLE and COMMENT for every text; each table references the one before."""
    made = []
    for number, text in enumerate(TEXTS):
        name = sql.Identifier(text)
        reference = sql.SQL(" REFERENCES {} ({})").format(
            sql.Identifier(TEXTS[number - 1]), sql.Identifier(TEXTS[number - 1])
        )
        made.append(
            sql.SQL("CREATE TABLE {0} ({0} int PRIMARY KEY, other int CONSTRAINT {0} {1}, CHECK ({0} > 0))").format(
                name, reference if number else sql.SQL("CHECK (other > 0)")
            )
        )
        made.append(sql.SQL("COMMENT ON TABLE {} IS {}").format(name, sql.Literal(text)))
        made.append(sql.SQL("COMMENT ON COLUMN {0}.{0} IS {1}").format(name, sql.Literal(text)))
    return sql.SQL("; ").join(made)
