"""The first screen: what is live where, what needs a person, and what it costs the record."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import syncd.ui
from syncd.plan.phases import ReleasePhase
from syncd.plan.roles import Role
from syncd.reconcile.requests.operations import freeze, hold, publish

from tests.support.rooms import SDXL
from tests.unit.api.serving import Served
from tests.unit.api.test_routes import went_live
from tests.unit.reconcile.test_overview_statements import statements
from tests.unit.ui.person import signed_in, visitor

STATIC = Path(syncd.ui.__file__).parent / "static"
HOSTILE = '"><script src=//evil.example></script>{{ 1919*7 }}'


def test_it_shows_what_is_live_in_each_region(served: Served) -> None:
    went_live(served.site, "v1")
    with signed_in(served, Role.READ) as ann:
        page = ann.open("/ui").text
    assert page.count("● v1</a>") == 2
    assert '<td data-region="singapore"><a class="live" href="/ui/bindings/draw-sg"' in page
    assert "Nothing needs attention" in page


def test_a_release_on_its_way_is_a_candidate_until_its_alias_has_moved(served: Served) -> None:
    went_live(served.site, "v1")
    served.site.world.deliver(SDXL, "v2")
    asked = publish(served.site.requester, SDXL, "v2")
    served.site.until(ReleasePhase.FLIPPING, asked.id)
    with signed_in(served, Role.READ) as ann:
        page = ann.open("/ui").text
    assert f"{asked.id} flipping v2" in page
    assert page.count("▶ v1</a> → v2 0 %") == 2


def test_text_of_people_is_text(served: Served) -> None:
    hold(served.site.requester, SDXL, HOSTILE)
    freeze(served.site.requester, None, HOSTILE, None)
    served.site.world.deliver(SDXL, "v1")
    with signed_in(served) as ann:
        for path in ("/ui", f"/ui?find={HOSTILE}", "/ui?page=x", "/ui/part"):
            page = ann.open(path)
            assert page.status_code == 200
            assert "<script src=//evil" not in page.text
            assert "13433" not in page.text
        assert "{{ 1919*7 }}" in ann.open("/ui").text


def test_a_page_costs_as_many_statements_whatever_there_is(served: Served) -> None:
    counts = []
    with signed_in(served, Role.READ) as ann:
        for versions in ((), ("v1",), ("v2", "v3")):
            went_live(served.site, *versions)
            with statements() as said:
                assert ann.open("/ui").status_code == 200
            counts.append(len(said))
    assert counts[1] == counts[2]
    assert max(counts) <= 25


def test_every_page_forbids_what_it_does_not_need(served: Served) -> None:
    with signed_in(served) as ann:
        paths = ("/ui", "/ui/part", "/ui/sign-in", "/ui/nothing", "/ui/static/x/syncd.css")
        for path in paths:
            headers = ann.open(path).headers
            policy = dict(each.strip().split(" ", 1) for each in headers["content-security-policy"].split(";"))
            assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
            assert policy["frame-ancestors"] == "'none'"
            assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


def test_files_are_served_to_all_under_their_hash(served: Served) -> None:
    with visitor(served) as ann:
        page = ann.open("/ui/sign-in").text
        (css,) = [part for part in page.split('"') if part.endswith("syncd.css")]
        answer = ann.open(css)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
        assert answer.content == (STATIC / "syncd.css").read_bytes()
        assert "immutable" in answer.headers["cache-control"]
        for path in (
            css.replace("/static/", "/static/0"),
            "/ui/static/x/../../../secret",
            "/ui/static/x/THIRD_PARTY.json",
        ):
            assert ann.open(path).status_code == 404


def test_files_of_others_are_those_that_are_named_with_their_licence() -> None:
    listed = json.loads((STATIC / "THIRD_PARTY.json").read_text())
    for each in listed:
        assert sha256((STATIC / each["file"]).read_bytes()).hexdigest() == each["sha256"], each
        assert (STATIC / each["licence_file"]).read_text().strip()
        assert all(each[key] for key in ("version", "licence", "package", "member"))
    others = {file.name for file in STATIC.iterdir() if file.name.endswith(".min.js")}
    assert others == {each["file"] for each in listed}


def test_what_is_not_well_is_shown_with_its_cure(served: Served) -> None:
    hold(served.site.requester, SDXL, "black images")
    freeze(served.site.requester, None, "quarter's end", None)
    with signed_in(served) as ann:
        page = ann.open("/ui").text
        assert "black images" in page
        assert "quarter&#39;s end" in page
        assert 'href="/ui/do/unfreeze"' in page
    with signed_in(served, Role.READ) as bob:
        assert 'href="/ui/do/' not in bob.open("/ui").text
