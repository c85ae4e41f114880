"""The bill of materials of the wheel, and known weaknesses of what is locked."""
