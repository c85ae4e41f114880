"""OSS errors: HTTP status, code, message and EC of the real service."""

from collections.abc import Mapping


class OssError(Exception):
    """An error response. `details` are further elements of its XML, `headers` its extra headers."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        ec: str = "",
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.ec = ec
        self.details = dict(details or {})
        self.headers: dict[str, str] = {}


def access_denied(message: str, ec: str = "0003-00000001", **details: str) -> OssError:
    return OssError(403, "AccessDenied", message, ec, details)


def invalid_argument(message: str, name: str = "", value: str = "", ec: str = "0017-00000002") -> OssError:
    details = {"ArgumentName": name, "ArgumentValue": value} if name else {}
    return OssError(400, "InvalidArgument", message, ec, details)


def malformed_xml(message: str = "The XML you provided was not well-formed or did not validate.") -> OssError:
    return OssError(400, "MalformedXML", message, "0016-00000001")


def no_such_bucket(bucket: str) -> OssError:
    return OssError(
        404, "NoSuchBucket", "The specified bucket does not exist.", "0015-00000101", {"BucketName": bucket}
    )


def no_such_key(key: str) -> OssError:
    return OssError(404, "NoSuchKey", "The specified key does not exist.", "0026-00000001", {"Key": key})


def no_such_upload(upload_id: str) -> OssError:
    message = (
        "The specified upload does not exist. The upload ID may be invalid, "
        "or the upload may have been aborted or completed."
    )
    return OssError(404, "NoSuchUpload", message, "0042-00000002", {"UploadId": upload_id})


def file_already_exists(key: str, ec: str) -> OssError:
    message = "The object you specified already exists and can not be overwritten."
    return OssError(409, "FileAlreadyExists", message, ec, {"Key": key})


def precondition_failed(condition: str) -> OssError:
    message = "At least one of the pre-conditions you specified did not hold."
    return OssError(412, "PreconditionFailed", message, "0016-00000701", {"Condition": condition})


def invalid_digest() -> OssError:
    return OssError(400, "InvalidDigest", "The Content-MD5 you specified was invalid.", "0016-00000401")


def not_implemented(what: str) -> OssError:
    message = f"The local OSS does not implement {what}."
    return OssError(501, "NotImplemented", message, "0003-00000801")
