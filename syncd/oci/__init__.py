"""Image repositories: a client that pushes, and the baker that lays a model's files over a base image."""
