"""What is asked of every page: that axe finds no serious fault, that it is light, and that it fits a phone."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import BrowserContext, Page

PICTURES = Path(__file__).parent.parent.parent / "docs" / "images"
# Bytes of a page with its style and script, without images.
HEAVIEST = 150_000
SERIOUS = {"serious", "critical"}
COLOURS = 96


@dataclass
class Eyes:
    """Looks at pages, and keeps what is wrong with them; `draws` pictures for the documents, if asked to."""

    draws: bool
    faults: list[str] = field(default_factory=list)

    def watch(self, context: BrowserContext) -> None:
        """Whatever scripts complain of is a fault, too."""
        context.on("weberror", lambda error: self.faults.append(str(error.error)))
        context.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)

    def check(self, page: Page) -> None:
        """The page as it stands is accessible, by light and by dark; by dark only its colours are others."""
        for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
            page.emulate_media(color_scheme=scheme)
            options = {"resultTypes": ["violations"], "preload": False, **rules}
            found = (page.evaluate(AGAIN, options) if rules else Axe().run(page, options=options).response)[
                "violations"
            ]
            self.faults += [
                f"{page.url} ({scheme}): {one['help']}: {node['html'][:160]} {node.get('failureSummary', '')}"
                for one in found
                if one["impact"] in SERIOUS
                for node in one["nodes"]
            ]
        page.emulate_media(color_scheme="light")

    def check_all_over(self, page: Page) -> None:
        """Besides: it fits a phone, and is light."""
        self.check(page)
        size = page.viewport_size
        page.set_viewport_size({"width": 390, "height": 844})
        width = page.evaluate("document.documentElement.scrollWidth")
        self.faults += [f"{page.url} is {width} pixels wide on a phone"] if width > 390 else []
        page.set_viewport_size(size)
        bytes_ = sum(page.evaluate(SIZES))
        self.faults += [f"{page.url} has {bytes_:,} bytes"] if bytes_ > HEAVIEST else []

    def draw(self, page: Page, name: str, *, height: int | None = None) -> None:
        """The page as docs/images/console-NAME.png, small."""
        if not self.draws:
            return
        clip = {"x": 0, "y": 0, "width": 1280, "height": height} if height else None
        held = page.screenshot(clip=clip, full_page=True)
        with Image.open(io.BytesIO(held)) as shot:
            shot.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, 1).save(
                PICTURES / f"console-{name}.png", optimize=True
            )


# With the script that is in the page already.
AGAIN = "options => axe.run(options)"
# What a first visitor loads, pictures aside.
SIZES = """async () => {
    const parts = [...document.querySelectorAll("link[rel=stylesheet], script[src]")];
    const all = [location.href, ...parts.map((one) => one.href || one.src)];
    return Promise.all(all.map(async (one) => (await (await fetch(one)).blob()).size));
}"""
