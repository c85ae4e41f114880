"""Export and import of a whole record as one file: between SQLite and PostgreSQL, and as a backup."""
