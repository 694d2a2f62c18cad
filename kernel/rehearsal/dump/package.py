"""Which Debian package brings an extension. Source: the names in Debian bookworm and in PostgreSQL's own repository."""

from __future__ import annotations

# Part of PostgreSQL's contrib, which Debian packs with the server.
_CONTRIB = frozenset(
    (
        *("adminpack", "amcheck", "autoinc", "bloom", "btree_gin", "btree_gist", "citext", "cube", "dblink"),
        *("dict_int", "dict_xsyn", "earthdistance", "file_fdw", "fuzzystrmatch", "hstore", "insert_username"),
        *("intagg", "intarray", "isn", "lo", "ltree", "moddatetime", "old_snapshot", "pageinspect"),
        *("pg_buffercache", "pg_freespacemap", "pg_logicalinspect", "pg_prewarm", "pg_stat_statements", "pg_surgery"),
        *("pg_trgm", "pg_visibility", "pg_walinspect", "pgcrypto", "pgrowlocks", "pgstattuple", "plpgsql"),
        *("postgres_fdw", "refint", "seg", "sslinfo", "tablefunc", "tcn", "tsm_system_rows", "tsm_system_time"),
        *("unaccent", "uuid-ossp", "xml2"),
    )
)
# Where the rule below does not hold.
_NAMES = {
    "pg_cron": "postgresql-{}-cron",
    "pg_partman": "postgresql-{}-partman",
    "pg_repack": "postgresql-{}-repack",
    "plperl": "postgresql-plperl-{}",
    "plperlu": "postgresql-plperl-{}",
    "plpython3u": "postgresql-plpython3-{}",
    "pltcl": "postgresql-pltcl-{}",
    "pltclu": "postgresql-pltcl-{}",
    "postgis": "postgresql-{}-postgis-3",
    "postgis_raster": "postgresql-{}-postgis-3",
    "postgis_sfcgal": "postgresql-{}-postgis-3",
    "postgis_tiger_geocoder": "postgresql-{}-postgis-3",
    "postgis_topology": "postgresql-{}-postgis-3",
    "vector": "postgresql-{}-pgvector",
}


def debian(extension: str, major: int) -> str:
    """The package that brings an extension to a server of this major version."""
    if extension in _CONTRIB:
        return f"postgresql-{major}"
    return _NAMES.get(extension, f"postgresql-{{}}-{extension.replace('_', '-')}").format(major)
