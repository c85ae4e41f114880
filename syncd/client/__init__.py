"""Client of the HTTP API: publish, wait, roll back, hold, read. Needs httpx and nothing of the server.

with Client("https://syncd.example.com", token) as client:
    release = client.publish("sdxl", "v2")
    client.wait(release.id, timeout_s=1800)
"""

from syncd.client.client import Client
from syncd.client.reader import Reader
from syncd.client.types import ENDS, Approval, Freeze, Hold, NotLive, Release, TimedOut

__all__ = ["ENDS", "Approval", "Client", "Freeze", "Hold", "NotLive", "Reader", "Release", "TimedOut"]
