"""Documentation checked against the program: commands, settings, links, events, samples and files."""

from __future__ import annotations

import ast
import json
import os
import re
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, get_args
from xml.etree import ElementTree as ET

import pytest
import yaml
from pydantic import BaseModel
from syncd import serving
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import ModelName, VersionName, parse_path
from syncd.cli.exit_codes import Exit
from syncd.config import (
    AdviceSettings,
    ApiSettings,
    BindingSettings,
    CostSettings,
    CredentialsSettings,
    EventBridgeHookSettings,
    FcRuntimeSettings,
    HookSettings,
    ImageTargetSettings,
    NasTargetSettings,
    OssTargetSettings,
    PolicySettings,
    ReceiptSettings,
    RegistrySettings,
    StateSettings,
    TransferSettings,
    UiSettings,
    load,
)
from syncd.config.retention import RetentionSettings, ScrubSettings
from syncd.config.values import NotifierSettings, PrometheusSignalSettings
from syncd.engine.base import Engine
from syncd.plan.phases import STEP_ENDS, FlipPhase, PlacementPhase, ReleasePhase
from syncd.reconcile.views.release import ReleaseView, document
from syncd.registry.base import Registry
from syncd.registry.checksum_files import ListedFile, parse_manifest
from syncd.registry.settings import DirectorySettings, IndexSettings
from syncd.registry.sources.directory import DirectoryRegistry
from syncd.registry.sources.index import IndexRegistry
from syncd.runtime.base import Runtime
from syncd.state.db.schema import metadata
from syncd.state.records import Release
from syncd.store.base import Store
from syncd.targets.base import Target
from syncd.values.source import Candidate, SourceFile
from tools import reference

from tests.emulators.web import Reply, Web
from tests.support import docs
from tests.support.docs import PAGES, ROOT, Block, blocks, codes, name
from tests.support.tensors import safetensors
from tests.unit.registry.webs import http_to

README: Final = ROOT / "README.md"
DOCS: Final = ROOT / "docs"
HOW_TO: Final = DOCS / "how-to"
ARCHITECTURE: Final = DOCS / "explanation" / "architecture.md"
ENVIRON: Final = {"SYNCD_ACCESS_KEY_SECRET": "not-a-secret"}
TABLES: Final[dict[str, tuple[type[BaseModel], ...]]] = {
    "state": (StateSettings,),
    "transfer": (TransferSettings,),
    "policy": (PolicySettings,),
    "api": (ApiSettings,),
    "ui": (UiSettings,),
    "cost": (CostSettings,),
    "advice": (AdviceSettings,),
    "receipts": (ReceiptSettings,),
    "retention": (RetentionSettings,),
    "scrub": (ScrubSettings,),
    "registries.*": get_args(RegistrySettings),
    "credentials.*": (CredentialsSettings,),
    "targets.*": (OssTargetSettings, NasTargetSettings, ImageTargetSettings),
    "runtimes.*": (FcRuntimeSettings,),
    "bindings.*": (BindingSettings,),
    "signals.*": (PrometheusSignalSettings,),
    "notify.*": (NotifierSettings,),
    "hooks.*": (HookSettings, EventBridgeHookSettings),
}
TIME: Final = re.compile(r"\b(release|placement|flip|step|version|hold|binding|token|image)\.[a-z]+\b")


def inner(annotation: object) -> list[type[BaseModel]]:
    """The tables in a setting's type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for part in get_args(annotation) for table in inner(part)]


def settings() -> set[str]:
    """Every setting by its dotted name; `*` for the names that people choose."""
    found: set[str] = set()
    todo = [(prefix, table) for prefix, tables in TABLES.items() for table in tables]
    while todo:
        prefix, table = todo.pop()
        for field, info in table.model_fields.items():
            found.add(f"{prefix}.{info.alias or field}")
            todo += [(f"{prefix}.{info.alias or field}", below) for below in inner(info.annotation)]
    return found


def named_settings(page: Path) -> set[str]:
    """What a page's prose names as a setting, with its value cut off."""
    sections = "|".join(prefix.partition(".")[0] for prefix in TABLES)
    found = (re.match(rf"((?:{sections})\.[\w*.]+)", code) for code in codes(page))
    return {match[1] for match in found if match and match[1] not in TABLES}


def emitted() -> set[str]:
    """Every kind of event that the program can write."""
    kinds = {text for text in docs.literals() if TIME.fullmatch(text)}
    for noun, words in (("release", ReleasePhase), ("placement", PlacementPhase), ("flip", FlipPhase)):
        kinds |= {f"{noun}.{word.value}" for word in words}
    return kinds | {f"step.{state.value}" for state in STEP_ENDS}


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_readmes_two_commands_are_targets_of_the_makefile(target: str) -> None:
    assert any(f"make {target}" in block.text.splitlines() for block in blocks("sh") if block.page == README)
    assert re.search(rf"(?m)^{target}:", (ROOT / "Makefile").read_text())


@pytest.mark.parametrize(("where", "arguments"), list(docs.commands()))
def test_every_command_that_is_shown_is_one_the_program_takes(where: str, arguments: list[str]) -> None:
    docs.parse(arguments)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_that_is_mentioned_has_these_options(page: Path) -> None:
    for code in codes(page):
        if code.startswith("syncd "):
            words = code.split()[1:]
            options = {word for word in words if word.startswith("-")}
            assert options <= docs.known_options(words), code


def test_every_command_is_in_some_page() -> None:
    from syncd.cli.main import COMMANDS

    shown = {arguments[0] for _, arguments in docs.commands()}
    written = [page for page in PAGES if page not in reference.PAGES]
    mentioned = {code.split()[1] for page in written for code in codes(page) if code.startswith("syncd ")}
    assert set(COMMANDS) <= shown | mentioned


@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_every_shell_block_is_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_every_python_block_is_python(block: Block) -> None:
    ast.parse(block.text)


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_every_yaml_block_is_yaml(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_every_json_block_is_lines_of_json(block: Block) -> None:
    for line in block.text.splitlines():
        assert isinstance(json.loads(line), dict)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in docs.links(page):
        assert "://" not in link, f"{link}: a page that is not ours"
        file, _, anchor = link.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), link
        assert not anchor or anchor in docs.anchors(there), link


FRAGMENTS: Final = tuple(page for page in PAGES if page.parent.name == "changes" and page.name != "README.md")


@pytest.mark.parametrize("page", [page for page in PAGES if page not in FRAGMENTS], ids=name)
def test_every_page_can_be_reached_from_the_readme(page: Path) -> None:
    todo, seen = [README], {README}
    while todo:
        here = todo.pop()
        for link in docs.links(here):
            there = (here.parent / link.partition("#")[0]).resolve()
            if there.suffix == ".md" and there.exists() and there not in seen:
                seen.add(there)
                todo.append(there)
    assert page in seen


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_path_in_the_project_that_a_page_names_is_there(page: Path) -> None:
    for code in codes(page):
        if re.fullmatch(r"(?:tests|deploy|migrations)/[\w./-]*|\w[\w/]*\.(?:py|toml|lock)", code):
            places = (ROOT / code, ROOT / "syncd" / code, ROOT / "syncd" / "registry" / code)
            assert any(place.exists() for place in places), code


def test_every_page_that_the_program_or_its_example_names_is_there() -> None:
    texts = [*docs.texts(), (ROOT / "config.example.toml").read_text()]
    named = {page for text in texts for page in re.findall(r"\bdocs/[\w/.-]+\.md\b", text)}
    assert len(named) >= 4
    assert {page for page in named if not (ROOT / page).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    assert named_settings(page) <= settings()


def test_every_setting_is_explained() -> None:
    pages = [
        "configure",
        "registries",
        "api",
        "webhooks",
        "release-in-stages",
        "notifications",
        "cost",
        "advise",
        "console",
        "retention",
    ]
    explained = {setting for page in pages for setting in named_settings(HOW_TO / f"{page}.md")}
    kinds = {f"{table}.kind" for table in TABLES}  # documented by their values, in each section
    tables = {"bindings.*.models", "bindings.*.models.env"}
    assert settings() - explained - kinds - tables == set()


def test_a_default_in_the_table_of_policies_is_the_programs() -> None:
    shown = {
        setting.strip().strip("`").removeprefix("policy."): value.strip().strip('"')
        for names, defaults, _ in docs.rows(HOW_TO / "configure.md", "When releases start and when steps stop retrying")
        for setting, value in zip(names.split(","), defaults.split(","), strict=True)
    }
    assert set(shown) == set(PolicySettings.model_fields)
    for field, value in shown.items():
        default = getattr(PolicySettings(), field)
        if isinstance(default, tuple):
            assert (value, default) == ("[]", ())
        elif isinstance(default, float):
            assert value == f"{default:g}"
        else:
            assert value.lower() == str(default).lower()


def whole_files() -> list[Block]:
    return [block for block in blocks("toml") if "[state]" in block.text and "[bindings" in block.text]


@pytest.mark.parametrize("block", whole_files(), ids=str)
def test_a_whole_configuration_in_a_page_loads(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(block.text)
    assert load(file, ENVIRON).bindings


def pieces() -> list[Block]:
    """What is syncd's configuration; the local cloud's page shows its seed file, and runs it in a test of its own."""
    return [block for block in blocks("toml") if block.page.name != "local-cloud.md"]


@pytest.mark.parametrize("block", pieces(), ids=str)
def test_a_piece_of_configuration_has_only_settings_that_exist(block: Block) -> None:
    def walk(place: str, value: Any) -> None:
        for key, below in value.items():
            here = f"{place}.{key}".lstrip(".")
            if f"{here}.*" in TABLES:
                for one in below.values():
                    walk(f"{here}.*", one)
                continue
            assert here in TABLES or here in settings(), here
            for table in below if isinstance(below, list) else [below]:
                # The keys of `json` are paths of the reader's own.
                if isinstance(table, dict) and key != "json" and not {"env", "file"} >= set(table):
                    walk(here, table)

    walk("", tomllib.loads(block.text))


def run_check(file: Path) -> str:
    command = [sys.executable, "-m", "syncd", "config", "check", "-c", str(file)]
    done = subprocess.run(
        command,
        env={**os.environ, **ENVIRON, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == Exit.USAGE
    return done.stdout + done.stderr


def test_the_output_of_config_check_in_the_guide_is_real(tmp_path: Path) -> None:
    text = whole_files()[0].text
    text = text.replace('target = "hangzhou"', 'target = "hangzou"')
    text = text.replace('{ env = "SYNCD_ACCESS_KEY_SECRET" }', '"in-the-file"')
    (tmp_path / "bad.toml").write_text(text + "\n[policy]\ntic_s = 1.0\n")
    guides = [block for block in blocks("console") if block.page.parent == HOW_TO]
    (shown,) = [block.text for block in guides if "config check" in block.text]
    assert run_check(tmp_path / "bad.toml") == shown.partition("\n")[2]


def test_every_kind_of_event_is_documented_and_every_documented_one_is_written() -> None:
    table = docs.rows(HOW_TO / "operate.md", "Events")
    documented = {match[0] for row in table for match in TIME.finditer(row[0])}
    assert documented == emitted()


def test_every_log_event_is_documented_and_every_documented_one_is_written() -> None:
    documented = {code for row in docs.rows(HOW_TO / "operate.md", "Logs") for code in re.findall(r"`([^`]+)`", row[0])}
    assert documented == docs.logged()


def test_every_reason_in_the_recovery_table_is_one_the_program_gives() -> None:
    table = docs.rows(HOW_TO / "recover.md", "A release is stalled")
    assert len(table) >= 10
    for row in table:
        for reason in re.findall(r"`([^`]+)`", row[0]):
            for piece in filter(None, (piece.strip() for piece in reason.split("…"))):
                said = re.escape(piece).replace("r\\-7", ".*").replace("\\.mounted", ".*")
                halves = [half for half in said.split(".*") if half.strip(" ,\\")]
                found = all(any(re.search(half.strip("\\ "), text) for text in docs.texts()) for half in halves)
                assert found, piece


def test_the_exit_codes_of_the_pipelines_page_are_the_programs() -> None:
    shown = {int(row[0]) for row in docs.rows(HOW_TO / "publish-from-a-pipeline.md", "Exit codes")}
    assert shown <= {code.value for code in Exit}
    assert {Exit.OK, Exit.HELD, Exit.NOT_LIVE, Exit.TIMEOUT} <= shown


def test_a_session_shows_tables_and_phases_of_the_program() -> None:
    phases = {word.value for words in (ReleasePhase, PlacementPhase, FlipPhase) for word in words}
    headings = 0
    for block in blocks("console"):
        for line in block.text.splitlines():
            words = tuple(re.split(r"\s{2,}", line.strip()))
            if len(words) > 2 and line == line.upper() and not line.startswith("$"):
                assert words in docs.columns()
                headings += 1
            told = re.match(r"r-\d+ (?:[\w-]+|release): (\w+)", line)
            assert told is None or told[1] in phases, line
    assert headings >= 3


def test_the_sample_of_a_releases_end_has_the_keys_of_a_real_one() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    release = Release("r-1", 1, "m", "v1", "r", None, False, "me", ReleasePhase.LIVE, "", "", "", now, now)
    (sample,) = [json.loads(block.text) for block in blocks("json") if '"event": "end"' in block.text]
    assert list(sample) == ["event", *document(ReleaseView(release, None, [], [], []))]


def test_the_sample_of_a_list_is_read_by_the_registry() -> None:
    sample, index = [block.text for block in blocks("json") if block.page.name == "registries.md"]
    (listed,) = parse_manifest(sample.encode(), ModelName("sdxl"), VersionName("v2"))
    assert (listed.path, listed.size_bytes) == ("model.safetensors", 16384)
    assert listed.sha256 is not None
    with Web(lambda _: Reply(200, {}, index.encode())) as web:
        registry = IndexRegistry(IndexSettings(f"{web.origin}/index.json", ("*/*",)), http_to(web))
        assert registry.discover() == (Candidate(ModelName("speech/asr"), VersionName("v1")),)
        revision = registry.resolve(ModelName("speech/asr"), "prod")
        assert registry.listing(ModelName("speech/asr"), revision) == listed_as_source(listed)


def listed_as_source(listed: ListedFile) -> tuple[SourceFile]:
    """The samples of both lists are of one file."""
    return (SourceFile(listed.path, listed.size_bytes or 0, listed.sha256),)


def test_the_function_in_the_page_finds_the_versions_digest(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("python") if block.page.name == "write-a-function.md"]
    (tmp_path / ".syncd").mkdir()
    (tmp_path / "weights").write_bytes(b"abc")
    sha256 = Digest("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    manifest = Manifest.of("sdxl", "v1", [Entry(parse_path("weights"), 3, sha256)])
    (tmp_path / ".syncd" / "manifest.json").write_bytes(manifest.canonical)
    (tmp_path / "function.py").write_text(block.text)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {**os.environ, "MODELS": "sdxl=P", "P": "/", "LOCALCLOUD_ROOT": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environ |= {"FC_CUSTOM_LISTEN_PORT": str(port)}
    with subprocess.Popen([sys.executable, tmp_path / "function.py"], env=environ) as function:
        try:
            assert asked(port, b"{}")["models"]["sdxl"]["digest"] == manifest.digest.hex
            assert asked(port, b'{"prompt": "a red cube"}') == {"prompt": "a red cube", "tensors": 0}
        finally:
            function.kill()
    (tmp_path / "weights").write_bytes(b"abd")
    with pytest.raises(serving.WrongBytes, match="weights"):
        serving.load(tmp_path)


def asked(port: int, body: bytes) -> dict[str, Any]:
    """A function's answer, once it listens."""
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/invoke", data=body, timeout=30) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.URLError:
            time.sleep(0.05)
    raise AssertionError("the function does not listen")


@pytest.mark.parametrize("block", [block for block in blocks("sh") if "Add version" in block.info], ids=str)
def test_a_block_that_can_be_run_makes_a_version_that_the_registry_finds(block: Block, tmp_path: Path) -> None:
    registry, shim = tmp_path / "registry", tmp_path / "bin" / "syncd"
    (tmp_path / "out" / "tokenizer").mkdir(parents=True)
    (tmp_path / "out" / "model.safetensors").write_bytes(safetensors({"w": b"weights"}))
    (tmp_path / "out" / "tokenizer" / "a file.json").write_text("{}")
    registry.mkdir()
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m syncd "$@"\n')
    shim.chmod(0o755)
    (tmp_path / "config.toml").write_text(whole_files()[0].text)
    environ = {**os.environ, **ENVIRON, "PYTHONPATH": str(ROOT), "REGISTRY": str(registry)}
    environ |= {"SYNCD_CONFIG": str(tmp_path / "config.toml"), "PATH": f"{shim.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (found,) = DirectoryRegistry(DirectorySettings(registry)).discover()
    assert (found.model, found.version) == ("sdxl", "v2")


def test_the_architecture_names_every_table_and_every_promise_of_a_seam() -> None:
    named = set(codes(ARCHITECTURE))
    assert set(metadata.tables) <= named
    for seam in (Registry, Store, Target, Runtime):
        promises = {name for name, made in vars(seam).items() if callable(made) and not name.startswith("_")}
        row = next(row for row in docs.rows(ARCHITECTURE, "Seams") if f"`{seam.__name__}`" in row[0])
        assert promises == set(re.findall(r"`(\w+)`", row[1])) & promises
    assert Engine.__name__ in named


def test_every_package_is_in_the_diagram() -> None:
    (picture,) = [block.text for block in blocks("text") if "wiring" in block.text]
    context = {path.name.removesuffix(".py") for path in (ROOT / "syncd").iterdir() if not path.name.startswith("_")}
    assert {room for room in context - {"py.typed"} if not re.search(rf"\b{room}\b", picture)} == set()


@pytest.mark.parametrize("page", reference.PAGES, ids=lambda page: page.name)
def test_a_generated_page_is_what_the_code_generates(page: Path) -> None:
    assert page.read_text() == reference.generated(page), "run `make reference`"


def test_every_setting_has_a_meaning_in_the_reference() -> None:
    rows = re.findall(r"(?m)^\| `([\w.*]+)` \|.*\| (.*) \|$", (DOCS / "reference" / "configuration.md").read_text())
    assert {name for name, _ in rows} >= settings()
    assert [name for name, meaning in rows if not meaning.strip()] == []


REPLACED: Final = re.compile(
    r"(?i)\b(?:wish(?:e[sd])?|mend(?:s|ed|ing)?|told|tells of|by hand|judg(?:e[sd]?|ing)|weigh(?:s|ed|ing)?|let go|"
    r"look(?:s|ed)? at|looked|(?:is|are) borne|is out)\b"
)


# The glossary quotes the words; of the other pages the words come from the program, the fault table or the local cloud.
QUOTING: Final = {DOCS / "glossary.md", DOCS / "faults.md", HOW_TO / "local-cloud.md", *reference.PAGES}


@pytest.mark.parametrize("page", [page for page in PAGES if page not in QUOTING], ids=name)
def test_no_page_has_a_word_that_the_glossary_replaces(page: Path) -> None:
    """Quoted output and names in backticks are the program's."""
    text = re.sub(r"`[^`]*`", "", docs.prose(page))
    assert REPLACED.findall(text) == []


def test_every_decision_is_listed_once() -> None:
    pages = {page.name for page in (DOCS / "adr").glob("0*.md")}
    assert sorted(docs.links(DOCS / "adr" / "README.md")) == sorted(pages)
    for page in pages:
        text = (DOCS / "adr" / page).read_text()
        assert text.startswith(f"# {page[:4]} ")
        assert re.search(r"(?m)^Date: \d{4}-\d\d-\d\d\. Status: (?:Accepted|Superseded by|Deprecated)\b.*\.$", text), (
            page
        )


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_mentions_no_issue_numbers_and_no_private_paths(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"(?i)shared/|/work\b|#\d+\b|\bissue \d|TODO|FIXME", text)


def test_every_fragment_of_the_changelog_has_a_name_and_a_type_and_is_plain_text() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    types = "|".join(each["directory"] for each in project["type"])
    for page in (ROOT / "changes").iterdir():
        if page.name == "README.md":
            continue
        assert re.fullmatch(rf"[a-z0-9][a-z0-9-]*\.(?:{types})\.md", page.name), f"{page.name}: see changes/README.md"
        text = page.read_text()
        assert text.strip(), f"{page.name}: it is empty"
        assert not re.search(r"(?m)^#|\]\(", text), f"{page.name}: no headings and no links"


def test_the_changelog_has_each_version_once_and_ends_with_this_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = re.findall(r"(?m)^## (\S+) \(\d{4}-\d\d-\d\d\)$", (ROOT / "CHANGELOG.md").read_text())
    numbers = [tuple(map(int, version.split("."))) for version in versions]
    assert numbers == sorted(set(numbers), reverse=True)
    assert project["version"] == versions[0] or FRAGMENTS


def test_the_version_of_the_project_is_the_one_that_manifests_and_pages_name() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    named = [*PAGES, *(ROOT / "deploy").rglob("*.yaml")]
    images = {found for path in named for found in re.findall(r"\bsyncd:(\d[\w.]*)", path.read_text())}
    assert images == {version}


def test_the_classifiers_name_every_python_that_is_supported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert named == ["3.11", "3.12", "3.13", "3.14"]
    assert project["requires-python"] == f">={named[0]}"


def test_each_hook_of_pre_commit_is_a_check_of_lint() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0].replace("$(BIN)", ".venv/bin")
    for hook in local["hooks"]:
        assert " ".join(word for word in hook["entry"].split() if word != "--force-exclude") in lint


def test_the_picture_in_the_readme_is_readable_in_dark_and_light() -> None:
    (picture,) = re.findall(r"!\[[^\]]+\]\((\S+\.svg)\)", README.read_text())
    root = ET.parse(ROOT / picture).getroot()
    style = next(each.text or "" for each in root.iter() if each.tag.endswith("}style"))
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    colours = r"\.([a-z]+)(?:, \.[a-z]+)* \{[^}]*(?:fill|stroke): #"
    assert set(re.findall(colours, light)) == set(re.findall(colours, dark))
    assert any(each.tag.endswith("}title") and each.text for each in root)


def test_the_licence_is_the_one_that_the_package_names() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]["text"]
    assert told == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
