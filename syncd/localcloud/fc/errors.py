"""What Function Compute says when it says no: a status, a code and a sentence, as JSON."""


class FcError(Exception):
    """A refusal, in the words of the real service.

    The same value serves the control API (`Code`, `Message`) and invocation (`ErrorCode`, `ErrorMessage`).
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message

    def document(self, request_id: str) -> dict[str, object]:
        """The JSON body; both spellings, since clients of either half look for their own."""
        return {
            "statusCode": self.status,
            "Code": self.code,
            "Message": self.message,
            "RequestId": request_id,
            "ErrorCode": self.code,
            "ErrorMessage": self.message,
        }


def invalid(message: str) -> FcError:
    return FcError(400, "InvalidArgument", message)


def no_function(name: str) -> FcError:
    return FcError(404, "FunctionNotFound", f"function '{name}' does not exist")


def no_version(function: str, version: str) -> FcError:
    return FcError(404, "VersionNotFound", f"version '{version}' of function '{function}' does not exist")


def no_alias(function: str, alias: str) -> FcError:
    return FcError(404, "AliasNotFound", f"alias '{alias}' of function '{function}' does not exist")


def not_started(message: str) -> FcError:
    """An instance could not be made to serve; the caller's request never reached a function."""
    return FcError(412, "FunctionNotStarted", message)
