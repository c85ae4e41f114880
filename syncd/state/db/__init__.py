"""Database access: engine, schema, column types, migrations, error mapping."""

__all__ = [
    "clock",
    "columns",
    "errors",
    "filelock",
    "rows",
    "schema",
    "schema_images",
    "schema_serving",
    "types",
    "url",
]
