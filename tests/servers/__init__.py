"""Other people's servers, for real: what they hold goes live, told of by themselves or found by looking."""
