"""Check a connection string for frequent faults before it is passed to libpq.

libpq misreads some faults (in `u:a/b@host` the host is "u") or quotes the password in its error message. Only certain
faults are refused; the string is never changed, and unknown parameters are allowed, since a newer libpq may support
them. The grammar: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
"""

from __future__ import annotations

import re

EXPECTED_CONNINFO = "expected postgresql://user:password@host:5432/dbname or host=… dbname=…"

# The environment variables of libpq and the keywords that they are the defaults of. Source: PostgreSQL documentation,
# "Environment Variables" of libpq.
LIBPQ_KEYWORDS = {
    "PGHOST": "host",
    "PGHOSTADDR": "hostaddr",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGPASSFILE": "passfile",
    "PGSERVICE": "service",
    "PGOPTIONS": "options",
    "PGAPPNAME": "application_name",
    "PGSSLMODE": "sslmode",
    "PGSSLCERT": "sslcert",
    "PGSSLKEY": "sslkey",
    "PGSSLROOTCERT": "sslrootcert",
    "PGSSLCRL": "sslcrl",
    "PGCHANNELBINDING": "channel_binding",
    "PGGSSENCMODE": "gssencmode",
    "PGKRBSRVNAME": "krbsrvname",
    "PGCONNECT_TIMEOUT": "connect_timeout",
    "PGTARGETSESSIONATTRS": "target_session_attrs",
}
# Those that say which database is meant; a machine may have the others for all its databases.
LIBPQ_DATABASE_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE")

# Parameters of other programs in PostgreSQL URLs, which libpq refuses.
_FOREIGN_PARAMETERS = {
    "Prisma": (
        *("pgbouncer", "connection_limit", "schema", "pool_timeout", "socket_timeout"),
        *("sslaccept", "sslidentity", "statement_cache_size"),
    ),
    "Node.js": ("uselibpqcompat", "supa", "max", "idle_timeout", "max_lifetime", "prepare"),
    "SQLAlchemy": (
        *("prepared_statement_cache_size", "prepared_statement_name_func"),
        *("command_timeout", "async_fallback", "server_settings"),
    ),
    "Go": (
        *("search_path", "default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity"),
        *("binary_parameters", "pool_max_conns", "pool_min_conns", "pool_health_check_period"),
        *("pool_max_conn_lifetime", "pool_max_conn_idle_time"),
    ),
    "Rails": ("adapter", "encoding", "pool", "prepared_statements", "statement_limit"),
    "Django": ("conn_max_age", "conn_health_checks"),
    "JDBC": (
        *("currentSchema", "prepareThreshold", "preparedStatementCacheQueries", "reWriteBatchedInserts"),
        *("sslfactory", "stringtype", "ApplicationName", "connectTimeout", "socketTimeout", "loginTimeout"),
        *("tcpKeepAlive", "targetServerType"),
    ),
}
_ESCAPES = "in a user, password or database name write @ as %40, / as %2F, ? as %3F, # as %23, : as %3A"
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::[0-9]*)?")
# A value in single quotes, or one without blanks; a backslash escapes the next character.
_PAIR = re.compile(r"(\w+)\s*=\s*(?:'(?:[^'\\]|\\.)*'\s*|(?!')(?:[^\s\\]|\\(?:.|\Z))*(?:\s+|\Z))", re.DOTALL | re.ASCII)


def check_conninfo(text: str, *, shared: bool) -> str:
    """Return `text` unchanged if it is a PostgreSQL URL or keyword string without one of the frequent faults.

    With `shared`, other programs read the same variable, and the remedy offers an alternative to changing it.
    Raises ValueError with the fault and its remedy; the message never quotes `text`.
    """
    if text != text.strip():
        raise ValueError("has blanks or a line break around it; remove them")
    if text.startswith(("'", '"', "`")):
        raise ValueError("begins with a quotation mark that belongs to it; remove the quotes")
    if re.search("[\0\ud800-\udfff]", text):
        raise ValueError("is not text in UTF-8; write other bytes as %XX")
    scheme, separator, rest = text.partition("://")
    if separator and scheme in ("postgresql", "postgres"):
        parameters = _url_parameters(rest)
    elif separator and re.fullmatch(r"(?:jdbc:)?(?:postgres(?:ql)?|pgsql|psql)(?:\+\w+)?", scheme, re.IGNORECASE):
        raise ValueError("has the scheme of another program; write postgresql:// in its place")
    else:
        parameters = _keyword_parameters(text)
    _check_parameters(parameters, shared=shared)
    return text


def _url_parameters(rest: str) -> list[tuple[str, str]]:
    """Return the (name, value) pairs of the query, still percent-encoded, of a URL without its scheme.

    Raises ValueError.
    """
    if re.search(r"[\s\x00-\x1f\x7f]", rest):
        raise ValueError("has a blank or control character inside; write a blank as %20")
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00", rest):
        raise ValueError("has a % that is not followed by two hexadecimal digits (or by 00); write a plain % as %25")
    if "[YOUR-PASSWORD]" in rest:
        raise ValueError("still has [YOUR-PASSWORD] in it; put the password in its place")
    # As libpq reads it: there is a user when an @ comes before the first slash, and it ends at the first @.
    if "@" in rest.partition("/")[0]:
        rest = rest.partition("@")[2]
    hosts = re.split("[/?]", rest, maxsplit=1)[0]
    path, _, query = rest[len(hosts) :].partition("?")
    if "@" in hosts or "@" in path:
        raise ValueError(f"has an @ too many or a / too early; {_ESCAPES}")
    if not all(_HOST.fullmatch(host) for host in hosts.split(",")):
        raise ValueError(f"has no readable host:port (IPv6 as [::1]:5432); {_ESCAPES}")
    pairs = [pair.split("=") for pair in query.split("&") if pair]
    if any(len(pair) != 2 for pair in pairs):  # noqa: PLR2004 - a name and a value
        raise ValueError(f"has something after ? that is not name=value (an = in a value is %3D); {_ESCAPES}")
    return [(name, value) for name, value in pairs]


def _keyword_parameters(text: str) -> list[tuple[str, str]]:
    """Return the (keyword, "") pairs of a `host=… dbname=…` string. Raises ValueError."""
    names: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None:
            raise ValueError(
                f"{EXPECTED_CONNINFO} (single quotes around a value with blanks)" if names else EXPECTED_CONNINFO
            )
        names.append((match[1], ""))
        position = match.end()
    return names


def _check_parameters(parameters: list[tuple[str, str]], *, shared: bool) -> None:
    """Raise ValueError for the parameters that libpq is known to refuse, all in one message."""
    present = {name for name, _ in parameters}
    foreign = [
        f"{name} (for {program})" for program, names in _FOREIGN_PARAMETERS.items() for name in names if name in present
    ]
    if foreign:
        remedy = ", or set MIGRATION_DATABASE_URL to a URL without" if shared else ""
        raise ValueError(f"has parameters that libpq does not know: {', '.join(foreign)}; remove them{remedy}")
    # libpq accepts ssl=true, for JDBC, and no other value of it.
    if any(
        (name == "ssl" and value != "true") or (name, value) == ("sslmode", "no-verify") for name, value in parameters
    ):
        raise ValueError("asks for TLS in the words of another program; write sslmode=require or sslmode=disable")
