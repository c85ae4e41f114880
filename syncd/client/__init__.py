"""Client of the HTTP API: publish, wait, roll back, hold, read. Needs httpx and nothing of the server.

with Client("https://syncd.example.com", token) as client:
    release = client.publish("sdxl", "v2")
    client.wait(release.id, timeout_s=1800)

`documents` has a dataclass for every answer: `StatusInfo.of(client.status())`.
"""

from syncd.client.answers import ApprovalInfo as Approval
from syncd.client.answers import FreezeInfo as Freeze
from syncd.client.answers import HoldInfo as Hold
from syncd.client.answers import LeaseInfo as Lease
from syncd.client.answers import ReleaseInfo as Release
from syncd.client.client import Client
from syncd.client.parse import ENDS
from syncd.client.reader import Reader
from syncd.client.types import NotLive, TimedOut

__all__ = ["ENDS", "Approval", "Client", "Freeze", "Hold", "Lease", "NotLive", "Reader", "Release", "TimedOut"]
