"""Which migration made each object and column, and which changed it since: recorded while the files run.

Each row of a catalog has the id of the transaction that wrote it (xmin). After a file, one query finds the objects
with rows that were written since the file before, and only those are read again and compared. So a file costs a few
queries, however large the schema is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.schema.snapshot import SESSION_SETTINGS, read_objects

if TYPE_CHECKING:
    from kernel.db.connection import Connection
    from kernel.schema.snapshot import Fact


# The catalogs, each with the expressions of the keys that a row of it is about; facts are read from several catalogs.
_OWN = (
    *("type", "constraint", "proc", "cast", "operator", "opfamily", "opclass", "namespace", "extension", "language"),
    *("am", "transform", "collation", "conversion", "ts_config", "ts_dict", "ts_template", "ts_parser", "class"),
    *("event_trigger", "default_acl", "foreign_data_wrapper", "foreign_server", "user_mapping", "publication"),
    *("publication_rel", "trigger", "rewrite", "policy", "statistic_ext"),
)
_ROWS_ABOUT = (
    *((f"pg_{name}", f"'pg_{name}:' || oid") for name in _OWN),
    ("pg_attribute", "'pg_attribute:' || attrelid || ':' || attnum"),
    ("pg_attrdef", "'pg_attribute:' || adrelid || ':' || adnum"),
    ("pg_index", "'pg_class:' || indexrelid"),
    ("pg_sequence", "'pg_class:' || seqrelid"),
    ("pg_inherits", "'pg_class:' || inhrelid"),
    ("pg_foreign_table", "'pg_class:' || ftrelid"),
    ("pg_rewrite", "'pg_class:' || ev_class"),
    ("pg_enum", "'pg_type:' || enumtypid"),
    ("pg_range", "'pg_type:' || rngtypid"),
    ("pg_aggregate", "'pg_proc:' || aggfnoid::oid"),
    ("pg_amop", "'pg_opfamily:' || amopfamily"),
    ("pg_amproc", "'pg_opfamily:' || amprocfamily"),
    ("pg_ts_config_map", "'pg_ts_config:' || mapcfg"),
    ("pg_publication_rel", "'pg_publication:' || prpubid"),
    ("pg_description", "classoid::regclass || ':' || objoid"),
    ("pg_description", "'pg_attribute:' || objoid || ':' || objsubid"),
    ("pg_db_role_setting", "CASE setrole WHEN 0 THEN 'pg_database:' ELSE 'pg_db_role_setting:' || setrole END"),
)
_WRITTEN_SINCE = " UNION ALL ".join(
    f"SELECT {key} FROM {catalog} WHERE xmin::text::bigint >= {{0}}"  # noqa: S608 - constants, and a number
    for catalog, key in _ROWS_ABOUT
)
_NEXT_TRANSACTION = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"


class HistoryRecorder:
    """Reads on a connection of its own what each file made and changed; the server must be fresh, and serve only this.

    Facts of another object are not part of its own history: a view is not changed by the new name of a column.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._facts: dict[str, tuple[str, tuple[Fact, ...]]] = {}
        self._files: dict[str, list[str]] = {}
        for name, value in SESSION_SETTINGS:
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        self._next_transaction = self._read_next_transaction()
        self._facts |= {obj.key: (obj.bare_name, obj.facts) for obj in read_objects(connection)}

    def file_applied(self, filename: str) -> None:
        """Record what was written since the last call as the work of this file."""
        following = self._read_next_transaction()
        written = self._connection.execute(_WRITTEN_SINCE.format(self._next_transaction).encode())
        keys = {str(key) for (key,) in written.fetchall()}
        self._next_transaction = following
        for obj in read_objects(self._connection, keys):
            now = (obj.bare_name, obj.facts)
            if self._facts.get(obj.key) != now:
                self._facts[obj.key] = now
                self._files.setdefault(obj.key, []).append(filename)

    def files(self) -> dict[str, tuple[str, ...]]:
        """The names of the files that made and changed each object, by its key."""
        return {key: tuple(names) for key, names in self._files.items()}

    def _read_next_transaction(self) -> int:
        ((number,),) = self._connection.execute(_NEXT_TRANSACTION).fetchall()
        return int(number)
