"""The dashboard in Chromium: a release from sign-in to rollback, every page for everybody, and nothing from elsewhere.

With SYNCD_SCREENSHOTS=1 the pictures of the documentation are made anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright
from syncd.plan.gate import Gates
from syncd.plan.phases import ReleasePhase
from syncd.plan.roles import Role
from syncd.reconcile.requests.operations import approve, hold, publish
from syncd.state.state import State
from syncd.ui.routes import routes_of

from tests.emulators.npm import installed
from tests.support.rooms import LORA, SDXL, Site, World, site
from tests.unit.api.serving import Served, serving
from tests.unit.ui.openid import SYNCD, provider_at

pytestmark = [pytest.mark.needs_chromium, pytest.mark.needs_npm]
ASSETS = Path(__file__).parents[3] / "docs" / "assets"
HOSTILE = "<script>document.title = 'x'</script>"
ALL_PAGES = (
    "/ui",
    "/ui/releases",
    "/ui/releases/r-1",
    "/ui/releases/r-2",
    f"/ui/models/{SDXL}",
    "/ui/bindings/draw-hz",
    "/ui/registries",
    f"/ui/do/rollback/{SDXL}",
    f"/ui/do/freeze/{SDXL}",
    "/ui/do/approve/r-2",
    "/ui/nothing",
)
_REPORT = """
addEventListener("securitypolicyviolation", (each) => {
  console.error(`CSP of ${location.host}: ${each.violatedDirective} ${each.blockedURI}`);
});
"""


@dataclass
class Seen:
    """What a browser asked for, and what it complained about."""

    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with chromium(playwright) as started:
        yield started


@contextmanager
def chromium(playwright: Playwright, *more: str) -> Iterator[Browser]:
    """Debian's, as root too."""
    path = shutil.which("chromium")
    assert path is not None
    arguments = ["--no-sandbox", "--no-proxy-server", "--disable-dev-shm-usage", *more]
    with closing(playwright.chromium.launch(executable_path=path, args=arguments)) as started:
        yield started


@pytest.fixture
def at(world: World, state: State) -> Site:
    """v1 is live, v2 waits for an approval, and another model is held."""
    made = site(world, state, gates=Gates(approval=(SDXL,)))
    for name in ("v1", "v2"):
        world.deliver(SDXL, name)
        asked = publish(made.requester, SDXL, name)
        if name == "v1":
            made.until(ReleasePhase.STAGING, asked.id)
            approve(made.requester, asked.id)
        made.settle(patient=name == "v1")
    hold(made.requester, LORA, f"black images {HOSTILE}")
    return made


@pytest.fixture
def served(at: Site) -> Iterator[Served]:
    with serving(at, pages=routes_of()) as made:
        yield made


@pytest.fixture
def seen(served: Served) -> Iterator[Seen]:
    """What the browser saw must be of this host alone, and without a complaint."""
    made = Seen()
    yield made
    assert made.hosts == {urlsplit(served.url).netloc}
    assert made.complaints == []


@pytest.fixture
def context(browser: Browser, served: Served) -> Iterator[BrowserContext]:
    made = browser.new_context(base_url=served.url, viewport={"width": 1200, "height": 800}, color_scheme="light")
    made.set_default_timeout(15_000)
    made.add_init_script(_REPORT)
    yield made
    made.close()


def sign_in(context: BrowserContext, served: Served, seen: Seen, role: Role = Role.OPERATE) -> Page:
    page = context.new_page()
    seen.watch(page)
    page.goto("/ui")
    page.get_by_label("Token").fill(served.token(role))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Models", exact=True)).to_be_visible()
    return page


def picture(page: Page, name: str) -> None:
    if os.environ.get("SYNCD_SCREENSHOTS") == "1":
        page.screenshot(path=ASSETS / f"console-{name}.png", full_page=name != "release")


def test_a_release_goes_live_before_ones_eyes_and_back(
    context: BrowserContext, served: Served, seen: Seen, at: Site
) -> None:
    page = sign_in(context, served, seen)
    expect(page.get_by_text("→ v2")).to_have_count(2)
    expect(page.get_by_text(HOSTILE)).to_have_count(0)  # in the hold's title alone
    picture(page, "models")
    page.get_by_role("link", name=f"Approve {SDXL}@v2…").click()
    expect(page.get_by_role("cell", name="v2")).to_have_count(2)
    page.get_by_role("button", name="Approve r-2").click()
    expect(page.get_by_text("by a-operateer@127.0.0.1").first).to_be_visible()
    page.evaluate("window.isSamePage = true")
    at.settle(patient=True)
    expect(page.locator("p[aria-live]")).to_contain_text("live")
    assert page.evaluate("window.isSamePage"), "the page was told, not loaded again"
    picture(page, "release")
    page.get_by_role("link", name=f"Roll back {SDXL}…").click()
    expect(page.get_by_role("row", name="draw-sg singapore v2 v1")).to_be_visible()
    page.get_by_label("Reason").fill("black images")
    picture(page, "confirm")
    page.get_by_role("button", name=f"Roll back {SDXL}").click()
    expect(page.get_by_role("heading", name=f"r-3: rollback of {SDXL}@v1")).to_be_visible()
    at.settle(patient=True)
    expect(page.locator("p[aria-live]")).to_contain_text("live")
    page.get_by_role("link", name=SDXL, exact=True).click()
    expect(page.get_by_text("held by a-operateer@127.0.0.1")).to_be_visible()
    picture(page, "model")
    assert at.release("r-3").phase is ReleasePhase.LIVE
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_shuts_anybody_out(context: BrowserContext, served: Served, seen: Seen, scheme: str) -> None:
    axe = (installed("axe-core@4.14.1") / "node_modules" / "axe-core" / "axe.min.js").read_text()
    page = sign_in(context, served, seen)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    backs, found = set(), {}
    for path in (*ALL_PAGES, "/ui/sign-in"):
        page.set_viewport_size({"width": 1200, "height": 800})
        page.goto(path)
        page.evaluate(axe)
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
        result = page.evaluate("(tags) => axe.run({runOnly: tags})", tags)
        assert len(result["passes"]) > 10, path
        if result["violations"]:
            found[path] = [
                (each["id"], [node["html"][:200] for node in each["nodes"]]) for each in result["violations"]
            ]
        backs.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.set_viewport_size({"width": 320, "height": 640})
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 320, path
    seen.complaints[:] = [each for each in seen.complaints if "404" not in each]  # of /ui/nothing
    assert found == {}
    assert backs == {"rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 28)"}


def test_every_link_and_button_is_reached_by_keyboard_and_shows_it(
    context: BrowserContext, served: Served, seen: Seen
) -> None:
    page = sign_in(context, served, seen)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.reload()
    wanted = page.locator("a[href], button, input:not([type=hidden]), [tabindex='0']").count()
    reached: set[int] = set()
    for _ in range(wanted):
        page.keyboard.press("Tab")
        here = "[...document.querySelectorAll('*')].indexOf(document.activeElement)"
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style == "solid", page.evaluate("document.activeElement.outerHTML")
        reached.add(page.evaluate(here))
    assert len(reached) == wanted


def test_a_person_signs_in_at_another_site_and_lands_on_the_first_screen(
    playwright: Playwright, at: Site, issuer: str
) -> None:
    """Two sites as a browser sees them, so its rules for cookies and forms between sites hold."""
    seen = Seen()
    with serving(at, pages=routes_of(provider_at(issuer))) as made:
        rule = f"--host-resolver-rules=MAP syncd.test:80 {urlsplit(made.url).netloc}"
        with chromium(playwright, rule) as browser, closing(browser.new_context(base_url=SYNCD)) as context:
            context.add_init_script(_REPORT)
            page = context.new_page()
            seen.watch(page)
            page.goto("/ui")
            page.get_by_role("link", name="Sign in with your organisation").click()
            page.get_by_placeholder("Enter any login").fill("ann+oncall")
            page.get_by_placeholder("and password").fill("any")
            page.get_by_role("button", name="Sign-in").click()
            page.get_by_role("button", name="Continue").click()
            expect(page.get_by_role("heading", name="Models", exact=True)).to_be_visible()
            expect(page.get_by_text("ann@example.com (operate)")).to_be_visible()
            page.get_by_role("link", name="Freeze all models…").click()
            page.get_by_label("Reason").fill("quarter's end")
            page.get_by_role("button", name="Freeze all models").click()
            expect(page.get_by_text("quarter's end (ann@example.com@127.0.0.1)")).to_be_visible()
    assert [each for each in seen.complaints if "CSP of syncd.test" in each] == []  # the provider's pages are its own


def test_who_may_only_read_sees_it_all_and_has_no_button(context: BrowserContext, served: Served, seen: Seen) -> None:
    page = sign_in(context, served, seen, Role.READ)
    expect(page.get_by_text("waits for an approval")).to_be_visible()
    expect(page.get_by_role("link", name="Approve")).to_have_count(0)
    page.goto("/ui/releases/r-2")
    expect(page.get_by_text("waits for an approval").first).to_be_visible()
    expect(page.locator("a.button")).to_have_count(0)


def test_a_page_that_nobody_sees_holds_no_connection(context: BrowserContext, served: Served, seen: Seen) -> None:
    page = sign_in(context, served, seen)
    with page.expect_request(lambda request: "/ui/part?" in request.url) as refreshed:
        page.evaluate(
            """() => { for (const hidden of [true, false]) {
                 Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
                 document.dispatchEvent(new Event("visibilitychange"));
               } }"""
        )
    assert refreshed.value.method == "GET"
