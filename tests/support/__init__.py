"""What tests stand on: clouds, databases, fleets, sources and worlds that several test packages use."""
