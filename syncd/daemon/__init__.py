"""Process life: one scheduler, one loop, the engine, and a way to stop that leaves nothing half-recorded."""
