"""A policy says what is unmet and what would meet it; its version changes with its requirements alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from syncd.formats.kinds import CODE_CARRYING, DATA_ONLY, MALFORMED
from syncd.trust.model_card import CARD_BYTES_MAX, read_card
from syncd.trust.policy import Mode, TrustEvidence, TrustPolicy, TrustRule, evaluate

RULE = TrustRule(("sdxl",), Mode.ENFORCE, formats=("data-only",))


def seen(*forms: str) -> TrustEvidence:
    found = TrustEvidence("hub")
    for number, form in enumerate(forms):
        found.add(f"file-{number}", form, "" if form in DATA_ONLY else "why")
    return found


def test_data_passes_and_each_kind_of_code_needs_its_name() -> None:
    assert evaluate(RULE, seen(*DATA_ONLY)) == ()
    for form in CODE_CARRYING:
        (found,) = evaluate(RULE, seen(form))
        assert str(found) == f"file-0: format {form} is not allowed: why"
        assert f'allow "{form}" in `formats`, if you trust who made it' in found.remedy
        assert evaluate(replace(RULE, formats=("data-only", form)), seen(form, "text")) == ()


def test_a_malformed_file_is_allowed_by_no_name() -> None:
    every = replace(RULE, formats=("data-only", *CODE_CARRYING))
    assert [each.reason for each in evaluate(every, seen(MALFORMED))] == ["malformed: why"]


def test_a_million_pickles_are_named_by_a_few_and_counted() -> None:
    found = evaluate(RULE, seen(*["pickle"] * 1000))
    assert len(found) == 9
    assert found[-1].subject == "992 more files of format pickle"


def test_sources_licences_and_metadata_are_compared_with_what_is_there() -> None:
    rule = TrustRule(("*",), Mode.ENFORCE, (), ("internal",), ("Apache-2.0",), {"reviewed": "yes"})
    found = {each.requirement: each.reason for each in evaluate(rule, seen("pickle"))}
    assert found == {
        "source": "expected one of the registries 'internal', got 'hub'",
        "licences": "expected one of 'Apache-2.0', got none in the front matter of README.md",
        "metadata": "expected 'yes', got nothing",
    }
    good = TrustEvidence("internal", card={"license": "apache-2.0", "reviewed": "yes"})
    assert evaluate(rule, good) == ()


def test_the_first_rule_that_selects_a_model_counts_and_off_is_none() -> None:
    policy = TrustPolicy((TrustRule(("old-*",), Mode.OFF), replace(RULE, models=("*",))))
    assert policy.for_model("old-one") is None
    assert policy.for_model("sdxl") is policy.rules[1]
    assert policy.for_model("team/sdxl") is None
    assert TrustPolicy().for_model("sdxl") is None


def test_the_version_of_a_policy_is_that_of_its_requirements() -> None:
    assert RULE.digest == replace(RULE, models=("*",), mode=Mode.WARN).digest
    changes = ({"formats": ()}, {"sources": ("a",)}, {"licences": ("mit",)}, {"metadata": {"a": "b"}})
    assert len({RULE.digest, *(replace(RULE, **each).digest for each in changes)}) == 5


def test_evidence_is_read_as_it_was_written_and_later_facts_are_left_out() -> None:
    found = seen("pickle", "text")
    assert TrustEvidence.read({**found.as_json(), "astrology": "leo"}) == found


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ("---\nlicense: mit\ntags:\n- a\nname: 'x: y'\n---\n# M", {"license": "mit", "name": "x: y"}),
        ("---\r\nlicense: mit # sure\r\n---\r\n", {"license": "mit"}),
        ("license: mit", {}),
        ("---\nlicense: mit\n", {}),
        ("---\nlicense: mit\nlicense: other\n---\n", {}),
        ("---\nlicense: [mit, gpl]\n---\n", {}),
        ("---\n  license: mit\n---\n", {}),
        ("", {}),
    ],
)
def test_the_front_matter_of_a_card_is_read_as_far_as_it_is_plain(card: str, found: dict[str, str]) -> None:
    assert read_card(card.encode()) == found


def test_a_card_is_read_up_to_a_bound() -> None:
    assert read_card(b"---\n" + b"#\n" * CARD_BYTES_MAX + b"license: mit\n---\n") == {}
