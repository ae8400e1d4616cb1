"""A small picture of a document's first page."""

from __future__ import annotations

import io
import threading

# PDFium is one per process, and knows no threads.
_turn = threading.Lock()
WIDTH = 320


def first_page(pdf: bytes) -> bytes:
    """A PNG of the first page, WIDTH pixels wide. Raises ValueError for what is no PDF."""
    import pypdfium2

    with _turn:
        try:
            document = pypdfium2.PdfDocument(pdf)
        except pypdfium2.PdfiumError as error:
            raise ValueError(f"this is no PDF that can be drawn: {error}") from None
        try:
            page = document[0]
            picture = page.render(scale=WIDTH / page.get_width()).to_pil().convert("RGB")
        finally:
            document.close()
    held = io.BytesIO()
    picture.quantize(48).save(held, "PNG", optimize=True)
    return held.getvalue()
