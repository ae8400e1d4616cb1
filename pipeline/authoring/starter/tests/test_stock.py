"""What one report says of rows that a test gives: copy this for a report of your own."""

from pipeline.testing import Renderer

ROWS = [
    {"warehouse": "Lyon", "item": "Gloves", "in_stock": 12, "reorder_at": 40, "counted_on": "2026-11-13"},
    {"warehouse": "Lyon", "item": "Tape", "in_stock": 300, "reorder_at": 50, "counted_on": "2026-11-13"},
    {"warehouse": "Turin", "item": "Gloves", "in_stock": 70, "reorder_at": 40, "counted_on": "2026-11-12"},
]


def test_each_warehouse_sees_its_own_items(render: Renderer) -> None:
    documents = render("stock", rows=ROWS, at="2026-11-16T07:00")
    assert list(documents) == ["Lyon", "Turin"]
    lyon = documents["Lyon"]
    assert "2 items are kept in Lyon." in lyon.text
    assert "Turin" not in lyon.text
    assert lyon.pages == 1
    assert lyon.message_to("Anna").subject.startswith("Stock of your warehouse")
