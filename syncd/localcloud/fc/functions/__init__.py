"""Functions, versions and aliases as values: records, validation, state changes, and the store on disk."""

from syncd.localcloud.fc.functions.function_store import FunctionStore
from syncd.localcloud.fc.functions.records import FunctionRecord

__all__ = ["FunctionRecord", "FunctionStore"]
