"""`syncd doctor`: silent on a good deployment of the local cloud, and each broken one is found with its cure."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import os
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from syncd.cli.doctor.places import export_of
from syncd.cli.main import main
from syncd.localcloud.faults import FaultRule, Respond

from tests.support.directories import quick_directory
from tests.support.fleet import NAS_SERVER, PLACES, Fleet

HZ: Final = PLACES["hangzhou"]
CLOSED: Final = "127.0.0.1:9"


@pytest.fixture(scope="module")
def made() -> Iterator[Fleet]:
    """A good deployment, with a version in its registry. How full the machine's own disk is does not count."""
    with quick_directory() as place:
        fleet = Fleet(place / "home", timeout_s=5.0)
        fleet.home.mkdir(mode=0o700)
        try:
            fleet.make()
            fleet.deliver("v1")
            yield fleet
        finally:
            fleet.stop()


@dataclass
class Deployment:
    """The good deployment with a configuration and a record of its own, to be broken."""

    fleet: Fleet
    home: Path
    ask: Callable[..., tuple[int, dict[str, Any]]]

    @property
    def config(self) -> Path:
        return self.home / "config.toml"

    @property
    def database(self) -> Path:
        return self.home / "syncd.db"

    def change(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text, old
        self.config.write_text(text.replace(old, new))

    def add(self, text: str) -> None:
        self.config.write_text(f"{self.config.read_text()}\n{text}\n")

    def answer(self, operation: str, action: Respond, service: str = "oss") -> None:
        """Have the cloud answer an operation of one region so, always."""
        self.fleet.whole.cloud.faults.add(FaultRule(service, action, operation, times=0))  # type: ignore[arg-type]


@pytest.fixture
def good(
    made: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deployment]:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)

    def ask(*more: str) -> tuple[int, dict[str, Any]]:
        with pytest.raises(SystemExit) as ended:
            main(("doctor", "-c", str(home / "config.toml"), "-o", "json", *more))
        seen = capsys.readouterr()
        assert "Traceback" not in seen.out + seen.err
        assert made.whole.cloud.access_key_secret not in seen.out + seen.err
        assert isinstance(ended.value.code, int)
        return int(ended.value.code), json.loads(seen.out)

    found = Deployment(made, home, ask)
    shutil.copyfile(made.config_file, found.config)
    shutil.copyfile(made.home / "syncd.db", found.database)
    found.database.chmod(0o600)
    found.change(str(made.home / "syncd.db"), str(found.database))
    yield found
    made.whole.cloud.faults.clear()


def test_it_is_silent_about_a_good_deployment_and_leaves_nothing_behind(good: Deployment) -> None:
    code, told = good.ask()
    assert (code, told["findings"], told["good"]) == (0, [], True)
    assert told["checks"] > 15
    assert not list(good.fleet.nas.rglob("*doctor*/*"))
    with sa.create_engine(f"sqlite:///{good.database}").connect() as conn:
        assert conn.execute(sa.text("SELECT count(*) FROM record_info WHERE name = 'doctor'")).scalar_one() == 0


def test_it_names_the_tokens_that_end_within_a_week(good: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    for name, *more in (("soon", "--expires", "6d"), ("later", "--expires", "30d"), ("always",)):
        with pytest.raises(SystemExit):
            main(("token", "create", name, *more, "-c", str(good.config)))
    capsys.readouterr()
    _, told = good.ask()
    assert [(found["check"], found["where"]) for found in told["findings"]] == [("tokens", "soon")]
    assert "syncd token revoke soon" in told["findings"][0]["cure"]


def bucket_info(location: str = f"oss-{HZ}", versioning: str = "") -> Respond:
    shown = f"<Versioning>{versioning}</Versioning>" if versioning else ""
    return Respond(
        200,
        body="<?xml version='1.0' encoding='UTF-8'?><BucketInfo><Bucket><Name>models-hz</Name>"
        f"<CreationDate>2026-01-01T00:00:00.000Z</CreationDate><StorageClass>Standard</StorageClass>"
        f"<ExtranetEndpoint>x</ExtranetEndpoint><IntranetEndpoint>y</IntranetEndpoint><Location>{location}</Location>"
        f"<Owner><ID>1</ID><DisplayName>1</DisplayName></Owner>"
        f"<AccessControlList><Grant>private</Grant></AccessControlList>{shown}</Bucket></BucketInfo>",
    )


def lifecycle(rule: str) -> Respond:
    head = "<?xml version='1.0' encoding='UTF-8'?><LifecycleConfiguration><Rule><ID>tidy</ID><Prefix></Prefix>"
    return Respond(200, body=f"{head}<Status>Enabled</Status>{rule}</Rule></LifecycleConfiguration>")


def schema_of_another(good: Deployment) -> None:
    with sa.create_engine(f"sqlite:///{good.database}").begin() as conn:
        conn.execute(sa.text("UPDATE syncd_schema SET version_num = '0001'"))


def secret_file(good: Deployment) -> None:
    secret = good.home / "secret"
    secret.write_text(good.fleet.whole.cloud.access_key_secret)
    secret.chmod(0o644)
    good.change('{ env = "FLEET_SECRET" }', f'{{ file = "{secret}" }}')


def other_key(good: Deployment, section: str) -> None:
    good.add('[credentials.other]\naccess_key_id = "somebody-else"\naccess_key_secret = { env = "FLEET_SECRET" }')
    head, found, rest = good.config.read_text().partition(f"[{section}]")
    assert found
    good.config.write_text(head + found + rest.replace('credentials = "local"', 'credentials = "other"', 1))


def endpoint(good: Deployment) -> str:
    return good.fleet.whole.cloud.endpoint(HZ)


def nas_is_a_file(good: Deployment) -> None:
    (good.home / "nas").write_text("")
    good.change(str(good.fleet.nas), str(good.home / "nas"))


def empty_registry(good: Deployment) -> None:
    (good.home / "registry" / "m").mkdir(parents=True)
    good.change(str(good.fleet.home / "registry"), str(good.home / "registry"))


def alias_with_weights(good: Deployment) -> None:
    shown = {"aliasName": "prod", "versionId": "1", "additionalVersionWeight": {"2": 0.5}}
    good.answer("GetAlias", Respond(200, body=json.dumps(shown), headers={"Content-Type": "application/json"}), "fc")


@dataclass(frozen=True)
class Case:
    """A deployment that is broken in one way, and what is to be said about it."""

    break_it: Callable[[Deployment], object]
    check: str
    where: str
    what: str
    cure: str
    kind: str = "wrong"
    code: int = 8


EXPIRES: Final = "<Expiration><Days>30</Days></Expiration>"
ARCHIVES: Final = "<Transition><Days>30</Days><StorageClass>ColdArchive</StorageClass></Transition>"
ABORTS: Final = "<AbortMultipartUpload><Days>1</Days></AbortMultipartUpload>"
DENIED: Final = Respond(403, "AccessDenied", "You have no right to access this object.")
HOOK: Final = '[api]\nlisten = "127.0.0.1:0"\n[hooks.files]\nkind = "github"\nsecret = { env = "DOCTOR_HOOK" }'

CASES: Final[dict[str, Case]] = {
    "no record": Case(lambda d: d.database.unlink(), "record", "", "no record", "syncd db create"),
    "no directory for the record": Case(
        lambda d: d.change(str(d.database), str(d.home / "away" / "syncd.db")), "record", "", "no record", "create"
    ),
    "a record of another schema": Case(schema_of_another, "record", "", "0001", "syncd db upgrade"),
    "a record that is not a database": Case(
        lambda d: d.database.write_bytes(b"not a database" * 100), "record", "", "database", ""
    ),
    "a record that others read": Case(
        lambda d: d.database.chmod(0o644), "settings", "state.url", "0644", "chmod 600", "warning", 0
    ),
    "a secret that others read": Case(secret_file, "settings", "credentials", "0644", "chmod 600", "warning", 0),
    "a short secret of a webhook": Case(
        lambda d: d.add(HOOK), "settings", "hooks.files", "bytes", "openssl", "warning", 0
    ),
    "no bucket": Case(
        lambda d: d.change("models-hz", "models-gone"), "target", "hangzhou", "NoSuchBucket", "create the bucket"
    ),
    "a bucket of another region": Case(
        lambda d: d.answer("GetBucketInfo", bucket_info("oss-cn-beijing")), "bucket", "hangzhou", "cn-beijing", "region"
    ),
    "a bucket with versioning": Case(
        lambda d: d.answer("GetBucketInfo", bucket_info(versioning="Enabled")), "bucket", "hangzhou", "Enabled",
        "bucket",
    ),
    "a lifecycle rule that deletes": Case(
        lambda d: d.answer("GetBucketLifecycle", lifecycle(EXPIRES)), "bucket", "hangzhou", "deletes", "remove it"
    ),
    "a lifecycle rule that archives": Case(
        lambda d: d.answer("GetBucketLifecycle", lifecycle(ARCHIVES)), "bucket", "hangzhou", "archives", "remove it"
    ),
    "a lifecycle rule that ends uploads": Case(
        lambda d: d.answer("GetBucketLifecycle", lifecycle(ABORTS)), "bucket", "hangzhou", "uploads", "3 days",
        "warning", 0,
    ),
    "settings of a bucket that may not be read": Case(
        lambda d: d.answer("GetBucketInfo", DENIED), "bucket", "hangzhou", "cannot be read", "oss:GetBucketInfo",
        "warning", 0,
    ),
    "a key without the right to write": Case(
        lambda d: d.answer("PutObject", DENIED), "target", "hangzhou", "AccessDenied", "oss:PutObject", "refused", 10
    ),
    "a key without the right to delete": Case(
        lambda d: d.answer("DeleteObject", DENIED), "target", "hangzhou", "AccessDenied", "DeleteObject", "refused", 10
    ),
    "a key without the right to list": Case(
        lambda d: d.answer("ListObjectsV2", DENIED), "target", "hangzhou", "AccessDenied", "List", "refused", 10
    ),
    "a key without the right to read": Case(
        lambda d: d.answer("GetObject", DENIED), "target", "hangzhou", "AccessDenied", "GetObject", "refused", 10
    ),
    "a wrong key for a bucket": Case(
        lambda d: other_key(d, "targets.hangzhou"), "target", "hangzhou", "InvalidAccessKeyId", "credentials",
        "refused", 10,
    ),
    "a wrong key for functions": Case(
        lambda d: other_key(d, f"runtimes.{HZ}"), "function", "serve-hangzhou", "", "", "refused", 10
    ),
    "an endpoint of OSS that does not answer": Case(
        lambda d: d.change(f'endpoint = "{endpoint(d)}"', f'endpoint = "http://{CLOSED}"'), "clock", "targets.hangzhou",
        "does not answer", "endpoint", "unavailable", 7,
    ),
    "an endpoint of functions that does not answer": Case(
        lambda d: d.change(f'endpoint = "{endpoint(d).removeprefix("http://")}"', f'endpoint = "{CLOSED}"'), "function",
        "serve-hangzhou", "", "", "unavailable", 7,
    ),
    "no function": Case(
        lambda d: d.change('function = "serve"', 'function = "gone"'), "function", "serve-hangzhou", "does not exist",
        "",
    ),
    "an alias that sends shares elsewhere": Case(
        alias_with_weights, "function", "serve-hangzhou", "shares", "syncd drift", "warning", 0
    ),
    "no directory of the NAS": Case(
        lambda d: d.change(str(d.fleet.nas), str(d.home / "unmounted")), "target", "shanghai", "", "mount",
        "unavailable", 7,
    ),
    "no marker in the NAS": Case(
        lambda d: d.change(f'server = "{NAS_SERVER}"', f'server = "{NAS_SERVER}"\nmount_marker = ".here"'), "target",
        "shanghai", ".here", "mount", "unavailable", 7,
    ),
    "a file for the NAS": Case(nas_is_a_file, "target", "shanghai", "", "", "unavailable", 7),
    "no directory of the registry": Case(
        lambda d: d.change(str(d.fleet.home / "registry"), str(d.home / "away")), "registry", "files", "", "",
        "unavailable", 7,
    ),
    "a registry without a version": Case(
        empty_registry, "registry", "files", "no version of m", "models", "warning", 0
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_broken_deployment_is_found_with_its_cure(
    case: Case, good: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCTOR_HOOK", "short")
    case.break_it(good)
    code, told = good.ask()
    found = [each for each in told["findings"] if each["check"] == case.check and case.where in each["where"]]
    assert [each for each in found if case.what in each["what"] and case.cure in each["cure"]], told["findings"]
    assert all(each["what"] and each["cure"] for each in told["findings"])
    assert {each["kind"] for each in found} == {case.kind}, found
    assert (code, told["good"]) == (case.code, case.kind == "warning")


def test_a_configuration_that_cannot_be_used_is_a_matter_of_its_own(good: Deployment) -> None:
    good.change('kind = "nas"', 'kind = "nsa"')
    code, told = good.ask()
    assert (code, told["exit_code"]) == (2, 2)


def test_modes_of_private_files_are_fixed_on_request_and_then_it_is_silent(good: Deployment) -> None:
    secret_file(good)
    good.database.chmod(0o644)
    code, told = good.ask("--fix")
    assert (code, {each["fixed"] for each in told["findings"]}) == (0, {True})
    assert {path.stat().st_mode & 0o777 for path in (good.database, good.home / "secret")} == {0o600}
    assert good.ask()[1]["findings"] == []


@contextmanager
def answering(date: str = "", certificate: Path | None = None) -> Iterator[int]:
    """An HTTP server of another program, with a clock of its own or a certificate."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return date or super().date_time_string(timestamp)

        def log_request(self, code: object = "-", size: object = "-") -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_clock_that_differs_from_that_of_the_service_is_found(good: Deployment) -> None:
    with answering("Thu, 01 Jan 2026 00:00:00 GMT") as port:
        good.change(f'endpoint = "{endpoint(good)}"', f'endpoint = "http://127.0.0.1:{port}"')
        _, told = good.ask()
    (found,) = [each for each in told["findings"] if each["check"] == "clock"]
    assert ("behind" in found["what"], found["kind"], "NTP" in found["cure"]) == (True, "wrong", True)


def test_an_address_of_the_api_that_another_program_has_is_found(good: Deployment) -> None:
    with answering() as port:
        good.add(f'[api]\nlisten = "127.0.0.1:{port}"')
        code, told = good.ask()
    (found,) = told["findings"]
    assert (code, found["check"], "something answers" in found["what"]) == (8, "api", True)


def certificate(path: Path, days: int) -> Path:
    """A key and a certificate that it signed itself, for a number of days."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=90))
    builder = builder.not_valid_after(now + dt.timedelta(days=days))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    made = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made)
    return path


@pytest.mark.parametrize(("days", "trust", "words"), [(5, "it", "ends on"), (400, "", "self"), (-1, "it", "expired")])
def test_certificates_that_end_soon_or_are_not_trusted_are_found(
    days: int, trust: str, words: str, good: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = certificate(good.home / "server.pem", days)
    if trust:
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    with answering(certificate=pem) as port:
        url = f"https://localhost:{port}/index.json"
        good.change('kind = "directory"', 'kind = "directory"\nmodels = ["m"]')
        good.add(f'[registries.web]\nkind = "http"\nurl = "{url}"\nmodels = ["other"]')
        _, told = good.ask()
    (found,) = [each for each in told["findings"] if each["check"] == "certificate"]
    assert words in found["what"]
    assert found["cure"]


def test_the_export_under_a_directory_is_read_from_the_mounts(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    lines = ["overlay / overlay rw 0 0", "a.nas.aliyuncs.com:/share /mnt/nas nfs rw,vers=3 0 0"]
    mounts.write_text("\n".join(lines) + "\n")
    assert export_of(Path("/mnt/nas"), mounts) == "a.nas.aliyuncs.com:/share"
    assert export_of(Path("/mnt/nas/models"), mounts) == "a.nas.aliyuncs.com:/share/models"
    assert export_of(Path("/var"), mounts) is None
    assert export_of(Path("/var"), tmp_path / "none") is None
    assert os.fspath(mounts)
