"""syncd: one release of a model version across regions, proven before it is served."""
