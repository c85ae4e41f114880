"""The SQL record: what is wanted, what was intended, what was seen, and when."""
