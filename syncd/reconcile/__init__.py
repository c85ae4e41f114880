"""Short passes: look, plan, do, record. What is wanted is in the record; each pass begins by looking at the world."""
