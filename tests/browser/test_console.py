"""A day at the console, in a real browser: every page looked at, and everything done that people do there."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import Site
from tests.browser.looking import Eyes

PATIENCE = 90_000
SECRET = "correct horse battery"


@pytest.mark.timeout(300)
def test_a_day_at_the_console(browser: Browser, site: Site, request: pytest.FixtureRequest) -> None:
    """One tree and one browser for all of it: to start them takes longer than any of its parts."""
    eyes = Eyes(draws=request.config.getoption("--pictures", default=False))
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    eyes.watch(context)
    page = context.new_page()

    with ThreadPoolExecutor(1) as beside:
        eve = beside.submit(site.typed, "user", "add", "eve", "--role", "operate", answer=f"{SECRET}\n")
        log_in_by_link(page, site, eyes)
        review = trigger_and_watch(page, site, eyes)
        eve.result()
    open_a_pdf(page, context, site)
    eyes.draw(page, "run", height=1500)
    cancel(page, site)
    resend_what_failed(page, site, eyes)
    approve(page, site, eyes)
    send_once_more(page, site, eyes)
    pause_and_resume(page, site, eyes)
    backfill(page, site, eyes)
    search(page, site, eyes)
    look_everywhere(page, site, eyes, review)
    unsubscribe(context, site, eyes)
    log_out(page, site)
    assert not eyes.faults, "\n".join(eyes.faults)
    log_in_with_a_password_and_without_scripts(browser, site)


def log_in_by_link(page: Page, site: Site, eyes: Eyes) -> None:
    page.goto(site.link)
    eyes.check(page)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_title("Today · Reports")


def trigger_and_watch(page: Page, site: Site, eyes: Eyes) -> str:
    """A form made from the parameters; the page is told when something has changed, until all is delivered.

    Of all sixteen documents only for the pictures: they take as long as the rest of the day.
    """
    page.keyboard.press("s")
    page.get_by_role("link", name="Carrier review").click()
    page.get_by_text("Run now …").click()
    page.get_by_label("Period").fill("2013-W37")
    page.get_by_label("Only keys").fill("" if eyes.draws else "UA, DL, 9E")
    with page.expect_request("**/events"):
        page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("It is opened.")
    address = page.url
    expect(page.locator(".run-head .pill")).to_have_text("succeeded")
    expect(page.get_by_text("19 of 19" if eyes.draws else "3 of 3").first).to_be_visible()
    page.wait_for_load_state()
    assert page.url == address
    return address


def open_a_pdf(page: Page, context: BrowserContext, site: Site) -> None:
    picture = page.locator(".thumb img").first
    picture.scroll_into_view_if_needed()
    expect(picture).to_have_js_property("complete", value=True)
    assert picture.evaluate("one => one.naturalWidth") == 320
    link = page.get_by_role("link", name="as PDF").first
    answer = context.request.get(site.url + (link.get_attribute("href") or ""))
    assert (answer.headers["content-type"], answer.body()[:5]) == ("application/pdf", b"%PDF-")
    assert answer.headers["content-disposition"].startswith("inline")
    for one in page.locator(".thumb img").all():
        one.scroll_into_view_if_needed()
        expect(one).to_have_js_property("complete", value=True)
    page.evaluate("scrollTo(0, 0)")


def run(page: Page, site: Site, name: str) -> None:
    page.goto(f"{site.url}/schedules/{name}")
    page.get_by_text("Run now …").click()
    page.get_by_role("button", name="Run", exact=True).click()


def cancel(page: Page, site: Site) -> None:
    run(page, site, "long_import")
    expect(page.locator(".run-head .pill")).to_have_text("running")
    expect(page.locator("svg rect.busy").first).to_be_visible()
    page.get_by_text("Cancel …").click()
    page.get_by_label("Why").fill("wrong day")
    page.get_by_role("button", name="Cancel this run").click()
    expect(page.locator(".run-head .pill")).to_have_text("cancelled")
    expect(page.locator(".callout")).to_contain_text("wrong day")


def resend_what_failed(page: Page, site: Site, eyes: Eyes) -> None:
    run(page, site, "late_arrivals")
    expect(page.locator(".run-head .pill")).to_have_text("partial")
    expect(page.locator(".problems")).to_contain_text("not taken before noon")
    eyes.check(page)
    eyes.draw(page, "problem", height=900)
    page.get_by_role("button", name="Resend 1 failed").click()
    expect(page.get_by_role("status")).to_contain_text("It runs again, as generation 2.")
    expect(page.locator(".run-head .pill")).to_have_text("succeeded")
    expect(page.get_by_text("2 of 2").first).to_be_visible()
    page.get_by_text("Rerun …").click()
    page.get_by_label("everything, with fresh data").check()
    page.get_by_role("button", name="Rerun", exact=True).click()
    expect(page.locator(".run-head .pill")).to_have_text("succeeded")
    expect(page.get_by_text("generation 3", exact=True)).to_be_visible()


def approve(page: Page, site: Site, eyes: Eyes) -> None:
    run(page, site, "prices")
    expect(page.locator(".run-head .pill")).to_have_text("waiting for approval")
    assert not any(b"ok+carla" in one for one in site.smtp.contents)
    page.get_by_role("link", name="Today").click()
    expect(page.locator(".matters")).to_contain_text("Approval wanted: prices")
    eyes.draw(page, "today")
    page.get_by_role("link", name="Approval wanted: prices").click()
    page.locator(".callout").get_by_role("link", name="Approve").click()
    eyes.check(page)
    page.get_by_label("Note").fill("looks right")
    page.get_by_role("button", name="Approve and send").click()
    expect(page.locator(".run-head .pill")).to_have_text("succeeded")
    assert any(b"ok+carla" in one for one in site.smtp.contents)


def send_once_more(page: Page, site: Site, eyes: Eyes) -> None:
    """From the page of one delivery, to somebody else."""
    page.get_by_title("All that happened to it").first.click()
    expect(page.get_by_text("What happened")).to_be_visible()
    eyes.check_all_over(page)
    page.get_by_text("Send once more …").click()
    page.get_by_label("To").fill("ok+boss@example.org")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("ok+boss@example.org once more")


def backfill(page: Page, site: Site, eyes: Eyes) -> None:
    """Looked at, opened, and seen to its end; of many days for the picture of a schedule's year."""
    last = (datetime.now(UTC).date().replace(day=1) - timedelta(days=1)).replace(day=3)  # of last month
    runs = 43 if eyes.draws else 2
    page.goto(f"{site.url}/schedules/night_totals")
    page.get_by_role("link", name="Backfill …").click()
    page.get_by_label("First day").fill(f"{last - timedelta(days=runs - 1)}")
    page.get_by_label("Last day").fill(f"{last}")
    page.get_by_role("button", name="Look").click()
    eyes.check_all_over(page)
    page.get_by_label("At a time").fill("4")
    page.get_by_role("button", name=f"Open {runs} runs").click()
    expect(page.get_by_role("status")).to_contain_text("It is opened")
    while not page.get_by_text("finished").is_visible():
        page.wait_for_timeout(500)
        page.reload()
    page.goto(f"{site.url}/schedules/night_totals")
    expect(page.get_by_role("img", name="In the last year")).to_be_visible()
    eyes.draw(page, "schedule", height=860)


def pause_and_resume(page: Page, site: Site, eyes: Eyes) -> None:
    page.goto(f"{site.url}/schedules/late_arrivals")
    page.get_by_text("Pause …").click()
    page.get_by_label("Why").fill("the warehouse moves")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator(".callout")).to_contain_text("the warehouse moves")
    page.get_by_text("Resume …").click()
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Resumed.")


def search(page: Page, site: Site, eyes: Eyes) -> None:
    """From the keyboard alone."""
    page.goto(f"{site.url}/runs")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("[data-row] a.row").nth(1)).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("553x1+bob@example.org")
    page.keyboard.press("Enter")
    expect(page.get_by_text("was handed over to relay").first).to_be_visible()
    eyes.draw(page, "recipient", height=620)


def look_everywhere(page: Page, site: Site, eyes: Eyes, review: str) -> None:
    paths = ["/", "/runs", "/schedules", "/schedules/late_arrivals", "/recipients", "/system"]
    for address in [*(site.url + path for path in paths), review, *(f"{review}/{part}" for part in PARTS)]:
        page.goto(address)
        eyes.check_all_over(page)
    while not page.get_by_text("2 processes").is_visible():  # a worker has a second to answer
        page.goto(f"{site.url}/system")
        expect(page.get_by_text("Asking …")).to_have_count(0)


PARTS = ("deliveries", "documents", "attempts")


def unsubscribe(context: BrowserContext, site: Site, eyes: Eyes) -> None:
    """The link of a message: a look ends nothing, the button does."""
    message = next(one for one in site.smtp.contents if b"To: ok+anna@example.org" in one)
    link = re.search(rb"List-Unsubscribe: <([^>]+)>", message.replace(b"\r\n ", b" "))
    assert link
    page = context.new_page()
    page.goto(link[1].decode())
    eyes.check(page)
    page.get_by_role("button").click()
    expect(page.locator("main")).to_contain_text("any more")
    expect(page.get_by_role("button")).to_have_count(0)
    page.close()


def log_out(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/runs")
    page.locator(".who summary").click()
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_title("Log in · Reports")
    page.goto(site.link)
    expect(page.locator("main")).to_contain_text("was used already")


def log_in_with_a_password_and_without_scripts(browser: Browser, site: Site) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.url}/runs?status=partial")
    page.get_by_label("Name").fill("eve")
    page.get_by_label("Password").fill("a guess of somebody")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("not right")
    page.get_by_label("Password").fill(SECRET)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("h1")).to_have_text("Runs")
    assert page.url.endswith("/runs?status=partial")
    run(page, site, "long_import")
    expect(page.get_by_role("status")).to_have_text("It is opened.")
    page.get_by_text("Cancel …").click()
    page.get_by_role("button", name="Cancel this run").click()
    expect(page.get_by_role("status")).to_contain_text("cancelled")
    context.close()
