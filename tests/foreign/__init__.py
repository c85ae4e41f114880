"""A second cloud, a fault proxy, an oracle, a scenario and a soak that share no code with syncd or its local cloud."""
