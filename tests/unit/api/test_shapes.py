"""The JSON of the API and of `-o json` stays what it is, and the client's types are those of the server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from syncd.api.openapi import DOCUMENT
from syncd.api.parsed_body import parse
from syncd.api.responses import plain
from syncd.api.schemas import ANSWERS, SCHEMAS, public_name
from syncd.client import answers, documents
from syncd.client.parse import Answer
from syncd.errors import Invalid
from syncd.reconcile.views.shapes import (
    advice,
    first_answers,
    overview,
    plans,
    releases,
    repairs,
    rollouts,
    serving,
    starts,
)
from syncd.reconcile.views.shapes.base import Document, known
from syncd.reconcile.views.shapes.releases import PlacementDocument
from syncd.reconcile.views.shapes.requests import (
    EmptyRequest,
    FreezeRequest,
    PublishRequest,
    ReasonRequest,
    RepairRequest,
    RequestBody,
)
from tools import client as generator

ROOT: Final = Path(__file__).parents[3]
GOLDEN: Final = ROOT / "tests" / "golden" / "v1"
SAMPLES: Final[Mapping[str, Any]] = json.loads((GOLDEN / "answers.json").read_text())
SHAPES: Final = {
    public_name(name): shape
    for module in (advice, first_answers, overview, plans, releases, repairs, rollouts, serving, starts)
    for name, shape in vars(module).items()
    if isinstance(shape, type) and issubclass(shape, Document) and shape.__module__ == module.__name__
}
BODIES: Final = {
    shape.__name__: shape for shape in (PublishRequest, ReasonRequest, FreezeRequest, RepairRequest, EmptyRequest)
}


def test_every_shape_has_a_golden_sample() -> None:
    assert set(SAMPLES) == set(SHAPES)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_golden_document_is_read_and_written_as_it_was(name: str) -> None:
    """Fails if a key is renamed, removed, moved, or changes its type or the form of its value."""
    found = SHAPES[name].model_validate_json(json.dumps(SAMPLES[name])).as_json()
    assert json.dumps(found, default=plain, indent=2) == json.dumps(SAMPLES[name], indent=2)


def test_no_key_of_the_api_was_removed_or_changed_and_new_ones_may_be_missing() -> None:
    golden: Mapping[str, Any] = json.loads((GOLDEN / "schemas.json").read_text())
    for name, was in golden.items():
        now = SCHEMAS[name]
        properties = _bare(now.get("properties", {}))
        assert {key: properties[key] for key in was["properties"]} == was["properties"], name
        required, before = set(now.get("required", ())), set(was["required"])
        if name in BODIES:
            assert required <= before, f"{name}: a client of v1 does not send it"
        else:
            assert required == before, f"{name}: keys are added with a default, and none is left out"


def _bare(schema: Any) -> Any:
    """A schema without its words."""
    if isinstance(schema, dict):
        return {key: _bare(each) for key, each in schema.items() if key not in {"description", "default"}}
    return [_bare(each) for each in schema] if isinstance(schema, list) else schema


def _objects(schema: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield place, schema
        for key, each in schema.items():
            yield from _objects(each, f"{place}/{key}")
    if isinstance(schema, list):
        for number, each in enumerate(schema):
            yield from _objects(each, f"{place}/{number}")


def test_the_document_describes_every_object_whole() -> None:
    bare = [place for place, each in _objects(DOCUMENT, "") if not {"properties", "additionalProperties"} & set(each)]
    assert bare == []


@pytest.mark.parametrize("path", sorted(generator.generated()), ids=lambda path: path.name)
def test_the_clients_types_are_made_from_the_shapes(path: Path) -> None:
    assert path.read_text() == generator.generated()[path], f"{path}: run `make reference`"


def _classes() -> dict[str, type[Answer]]:
    found = {**vars(answers), **vars(documents)}
    return {
        name.removesuffix("Info"): each
        for name, each in found.items()
        if isinstance(each, type) and issubclass(each, Answer) and each is not Answer
    }


def test_the_client_reads_every_answer_and_no_part_of_it_is_lost() -> None:
    classes = _classes()
    assert {public_name(shape.__name__) for shape in ANSWERS} <= set(classes)
    for name, shape in classes.items():
        made = shape.of(SAMPLES[name])
        assert made.document == SAMPLES[name]
        assert shape.of({**SAMPLES[name], "added_later": 1}) == made
        with pytest.raises(Invalid, match="expected a response of syncd"):
            shape.of(dict.fromkeys(SAMPLES[name], ...))
    history = documents.ReleaseHistoryInfo.of(SAMPLES["ReleaseHistory"])
    assert history.has_ended is (history.phase in {"live", "undone", "stalled", "superseded", "cancelled"})
    assert (history.bindings[0].from_, history.bindings[0].to) == ("a from version", "a to version")
    assert history.rollout is not None
    assert history.rollout.good_answers == {"key": 7}
    assert history.targets[0].files == (("a file", 7, 7),)
    assert history.events[0].at == history.created_at


@pytest.mark.parametrize(
    ("key", "value"),
    [("release", 1), ("rollback", 1), ("created_at", 5), ("targets", {}), ("rollout", []), ("left_behind", [1])],
)
def test_the_client_refuses_a_value_of_another_type(key: str, value: object) -> None:
    with pytest.raises(Invalid, match="expected a response of syncd"):
        documents.ReleaseHistoryInfo.of({**SAMPLES["ReleaseHistory"], key: value})


def test_the_client_works_where_pydantic_is_not_installed() -> None:
    code = (
        "import sys\nsys.modules['pydantic'] = sys.modules['pydantic_core'] = None\n"
        "from syncd.client import Client, documents\nprint(documents.StatusInfo.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "StatusInfo\n"), done.stderr


def test_progress_that_another_version_recorded_does_not_prevent_an_answer() -> None:
    found = {"bytes_sent": 5, "a_counter_of_another_version": 1}
    assert known(PlacementDocument, found) == {"bytes_sent": 5}


@pytest.mark.parametrize(
    ("shape", "sent", "message"),
    [
        (PublishRequest, {"model": "m"}, '"ref": expected text of at most 96 printable characters, got nothing'),
        (PublishRequest, {"model": 5, "ref": "v"}, '"model": expected text of at most 128 printable characters, got 5'),
        (
            PublishRequest,
            {"model": "m\n", "ref": "v"},
            "\"model\": expected text of at most 128 printable characters, got 'm\\n'",
        ),
        (PublishRequest, {"model": "m", "ref": "v", "x": 1}, "the body has an unknown key 'x'"),
        (ReasonRequest, {"why": None}, '"why": expected text of at most 500 printable characters, got None'),
        (FreezeRequest, {"hours": "1"}, "\"hours\": expected a number from 0 to 8784, got '1'"),
        (FreezeRequest, {"hours": True}, '"hours": expected a number from 0 to 8784, got True'),
        (FreezeRequest, {"hours": -1}, '"hours": expected a number from 0 to 8784, got -1'),
        (FreezeRequest, {"hours": 9000}, '"hours": expected a number from 0 to 8784, got 9000'),
        (EmptyRequest, {"why": "x"}, "the body has an unknown key 'why'"),
    ],
    ids=str,
)
def test_a_wrong_body_is_refused_with_the_key_what_was_expected_and_what_came(
    shape: type[RequestBody], sent: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(Invalid) as refused:
        parse(shape, sent)
    assert refused.value.message == message


def test_what_is_shown_of_a_wrong_value_is_short() -> None:
    with pytest.raises(Invalid) as refused:
        parse(ReasonRequest, {"why": "y" * 9000})
    assert len(refused.value.message) < 200


@pytest.mark.parametrize(
    ("shape", "sent"),
    [
        (PublishRequest, {"model": "team/m", "ref": "1.4.0+cu12"}),
        (ReasonRequest, {}),
        (ReasonRequest, {"why": ""}),
        (FreezeRequest, {"hours": 48}),
        (FreezeRequest, {"why": "é", "hours": 0.5}),
        (EmptyRequest, {}),
    ],
    ids=str,
)
def test_a_right_body_is_taken(shape: type[RequestBody], sent: Mapping[str, Any]) -> None:
    assert parse(shape, sent).model_dump(exclude_unset=True) == sent


def test_every_operation_has_an_id_of_its_own_and_a_tag_that_is_described() -> None:
    operations = [each for item in DOCUMENT["paths"].values() for each in item.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)
    assert {tag for each in operations for tag in each["tags"]} == {tag["name"] for tag in DOCUMENT["tags"]}
