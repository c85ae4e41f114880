"""The dashboard: pages of the HTTP API's server, rendered from the views that commands and API use."""
