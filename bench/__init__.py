"""How syncd compares with the tools people use today: the same files, the same server, the same machine."""
