"""A document that cannot be made fails alone; one whose process is stopped meanwhile has not failed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.errors import PermanentError, Waiting
from pipeline.workflows.report import rendering


@pytest.fixture
def make(monkeypatch):
    """Make a document from a template that is wrong."""

    def wrong(*_):
        raise PermanentError("templates/shipments/document.html:3: 'custmer' is undefined")

    monkeypatch.setattr(rendering, "_made_if_wanted", wrong)
    return lambda run: rendering._rendered(run, SimpleNamespace(key="ACME"), ([], {}), None, None)


def test_a_document_that_cannot_be_made_fails_alone(make):
    _, values, files = make(SimpleNamespace(alive=lambda: None))
    assert (values["status"], files) == ("failed", [])
    assert "custmer" in values["error"]


def test_a_document_whose_process_is_stopped_has_not_failed(make):
    def stopped():
        raise Waiting("its worker was stopped", again_in=0)

    with pytest.raises(Waiting):
        make(SimpleNamespace(alive=stopped))
