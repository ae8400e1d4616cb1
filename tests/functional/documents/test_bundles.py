"""Bundles: the same templates are the same bytes, and `_base` is inherited file by file."""

import threading
import zipfile
from io import BytesIO

import pipeline
from pipeline.adapters.documents import base_templates, bundle, render, unpack, warm_up
from tests.document_stories import content, extended, templates


def names(packed):
    return zipfile.ZipFile(BytesIO(packed)).namelist()


def test_a_home_without_templates_inherits_the_base(tmp_path):
    packed = bundle(tmp_path / "nowhere", "flights")
    assert {"_base/document.html", "_base/document.css", "_base/words.json"} <= set(names(packed))


def test_the_same_files_are_the_same_bytes_whenever_they_were_written(tmp_path):
    for home in ("one", "two"):
        (tmp_path / home / "flights").mkdir(parents=True)
        (tmp_path / home / "flights" / "document.css").write_text("p {}")
    first = bundle(tmp_path / "one", "flights")
    (tmp_path / "two" / "flights" / "document.css").touch()
    assert bundle(tmp_path / "two", "flights") == first
    (tmp_path / "two" / "flights" / "document.css").write_text("p { }")
    assert bundle(tmp_path / "two", "flights") != first


def test_only_the_reports_own_folder_and_the_base_are_packed(tmp_path):
    for file in (
        "flights/document.css",
        "other/document.css",
        "flights/.hidden",
        "flights/old.html~",
        "flights/img/a.svg",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("x")
    own = [name for name in names(bundle(tmp_path, "flights")) if not name.startswith("_base/")]
    assert own == ["flights/document.css", "flights/img/a.svg"]


def test_a_home_changes_single_files_of_the_base(tmp_path):
    folder = templates(tmp_path, name="_base", document_css="p { color: red }")
    assert (folder / "_base" / "document.css").read_text() == "p { color: red }"
    assert (folder / "_base" / "document.html").read_text() == (base_templates() / "document.html").read_text()


def test_unpacking_at_once_gives_one_whole_folder(tmp_path):
    packed = bundle(tmp_path, "flights")
    threads = [threading.Thread(target=unpack, args=(packed, tmp_path / "cache" / "x")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["x"]
    assert len(names(packed)) == sum(path.is_file() for path in (tmp_path / "cache" / "x").rglob("*"))


def test_an_installed_wheel_has_the_base_inside_the_package(tmp_path, monkeypatch):
    installed = tmp_path / "site-packages" / "pipeline"
    (installed / "_base_templates").mkdir(parents=True)
    monkeypatch.setattr(pipeline, "__file__", str(installed / "__init__.py"))
    assert base_templates() == installed / "_base_templates"


def test_a_template_folder_of_another_name_is_used_when_the_report_says_so(tmp_path):
    from tests.document_stories import report

    folder = templates(tmp_path, name="brief", document_html=extended(summary="As a brief"))
    assert b"As a brief" in render(content(report=report(template="brief")), "html", folder).data


def test_warming_up_leaves_nothing_behind_and_renders_on():
    import gc

    threshold = gc.get_threshold()
    try:
        warm_up()
        assert gc.get_threshold()[0] > threshold[0]
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
