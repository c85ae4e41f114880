"""The changelog of a version in preparation."""

from __future__ import annotations

from tools.changelog import merged

PAGE = "# Changelog\n\n<!-- the newest version is below -->\n\n## 0.1.0 (2026-11-21)\n\n### Features\n\n- the first\n"
ORDER = ["Features", "Fixes"]


def test_a_new_version_is_the_newest() -> None:
    page = merged(PAGE, "## 0.2.0 (2026-11-30)\n\n### Features\n\n- a second\n", ORDER)
    page = page.partition("newest version is below -->\n\n")[2]
    assert page == f"## 0.2.0 (2026-11-30)\n\n### Features\n\n- a second\n\n{PAGE[PAGE.index('## 0.1.0') :]}"


def test_a_version_that_is_there_gets_what_is_new_and_the_new_date() -> None:
    page = merged(PAGE, "## 0.2.0 (2026-11-30)\n\n### Fixes\n\n- a fix\n", ORDER)
    page = merged(page, "## 0.2.0 (2026-12-02)\n\n### Features\n\n- a second\n\n\n### Fixes\n\n- one more\n", ORDER)
    section = page.partition("newest version is below -->\n\n")[2].partition("## 0.1.0")[0]
    assert section == "## 0.2.0 (2026-12-02)\n\n### Features\n\n- a second\n\n### Fixes\n\n- a fix\n- one more\n\n"
    assert page.endswith("## 0.1.0 (2026-11-21)\n\n### Features\n\n- the first\n")
