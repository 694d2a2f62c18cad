"""Other sessions as text: what pg_stat_activity shows of them to this role."""

from __future__ import annotations

# An SQL expression that describes the session `session_pid`, whose row of pg_stat_activity is `a`. Percent signs are
# doubled, as in a query with parameters. Of sessions of other roles the server may show no more than the pid, the role
# and the application_name. Source: PostgreSQL documentation, "pg_stat_activity".
SESSION_DESCRIPTION = """CASE
  WHEN a.backend_start IS NULL THEN format('pid %%s (%%s) of role %%s, which hides what it runs', session_pid,
    coalesce(nullif(a.application_name, ''), 'unnamed'), coalesce(a.usename, 'unknown'))
  ELSE format('pid %%s (%%s, %%s for %%s): %%s', session_pid, coalesce(nullif(a.application_name, ''), a.backend_type),
    a.state, justify_interval(date_trunc('second', clock_timestamp() - coalesce(a.state_change, a.backend_start))),
    left(regexp_replace(a.query, '\\s+', ' ', 'g'), 120))
  END"""
