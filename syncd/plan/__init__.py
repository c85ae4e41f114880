"""Decisions: what is due, what may follow what. Pure: no clock, no chance, no I/O."""
