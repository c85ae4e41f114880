"""Notifications: what is said about an event, and the services that take it."""
