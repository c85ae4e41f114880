"""Generated types of the client: a frozen dataclass for every object in an answer, from the shapes of the server."""

from tools.client.documents import generated

__all__ = ["generated"]
