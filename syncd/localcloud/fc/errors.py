"""Function Compute's errors: HTTP status, code and message."""


class FcError(Exception):
    """An error response with the real service's code and message.

    The same value serves the control API (`Code`, `Message`) and invocation (`ErrorCode`, `ErrorMessage`).
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message

    def document(self, request_id: str) -> dict[str, object]:
        """The JSON body, with the field names of the control API and of invocation."""
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
    """No instance could start: the request never reached the function."""
    return FcError(412, "FunctionNotStarted", message)
