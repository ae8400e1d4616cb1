"""Copies lie where people look for them, under names that every file system takes and no other document has."""

import unicodedata
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.adapters.copies import check_pattern, copy_to, expand, safe_name
from pipeline.destinations import OF_FOLDER, Folder
from pipeline.errors import DefinitionError, PermanentError

# A machine that is busy with other things fails no test.
calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

VALUES = {
    "schedule": "customer_shipments",
    "report": "customer_shipments",
    "period": "2026-W46",
    "key": "ACME",
    "format": "pdf",
}


@pytest.mark.parametrize("key", ["ACME", "all", "N14228", "Müller & Sohn GmbH", "東京", "a.b", "2026-11-16", "x" * 150])
def test_a_key_that_can_be_a_file_name_is_one(key):
    assert safe_name(key) == key


@pytest.mark.parametrize(
    ("key", "begins"),
    [
        ("a/b", "a_b~"),
        ("..", "__~"),
        (".hidden", "_hidden~"),
        ("../../etc/passwd", "__"),
        ("", "_~"),
        ("tab\there", "tab_here~"),
        ("C:\\temp", "C__temp~"),
        ("con", "con~"),
        ("dot.", "dot_~"),
        ("~", "_~"),
        ("\u202efdp.exe", "_fdp.exe~"),
        ("half \ud83d", "half _~"),
        ("x" * 151, "xxx"),
        ("ü" * 100, "üüü"),
    ],
)
def test_a_key_that_cannot_is_altered_and_marked(key, begins):
    assert safe_name(key).startswith(begins)
    assert safe_name(key)[-13] == "~"


@calm
@given(st.text(st.characters()), st.text(st.characters()))
@example("a/b", "a:b")
@example("x" * 200, "x" * 201)
@example("é", unicodedata.normalize("NFD", "é"))
def test_every_key_has_a_safe_name_of_its_own(one, other):
    for name in (safe_name(one), safe_name(other)):
        assert 1 <= len(name.encode()) <= 150
        assert name[0] != "."
        assert not set(name) & set("/\\\0\r\n")
        assert unicodedata.normalize("NFC", name) == name
    assert (safe_name(one) == safe_name(other)) == (one == other)


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("file:///reports/{period}/", "file:///reports/2026-W46/ACME.pdf"),
        ("/reports/{schedule}/{period}/{key}.{format}", "/reports/customer_shipments/2026-W46/ACME.pdf"),
        ("s3://bucket/{key}/latest.{format}", "s3://bucket/ACME/latest.pdf"),
    ],
)
def test_a_pattern_is_filled_in(pattern, url):
    assert expand(pattern, VALUES) == url


def test_a_key_cannot_lead_out_of_its_folder():
    assert expand("/reports/{key}/x.pdf", {**VALUES, "key": "../../etc"}).startswith("/reports/___.._etc~")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("/reports/{perod}/", r"knows no {perod}: did you mean period\?"),
        ("/reports/{customer}/", "there are schedule, report, period, key, format"),
        ("/reports/{key!r}.pdf", "knows no {key}"),
        ("/reports/{key:>9}.pdf", "knows no {key}"),
        ("/reports/{}.pdf", "knows no {}"),
        ("/reports/{key.pdf", "cannot be read"),
        ("file://reports/{key}.pdf", "three slashes"),
        ("ftps9://x/{key}.pdf", "no place to store"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused_before_anything_runs(pattern, reason):
    with pytest.raises(DefinitionError, match=reason):
        check_pattern(pattern)


def test_a_copy_is_written_once_and_again_only_if_it_says_the_same(tmp_path):
    pattern = f"file://{tmp_path}/{{period}}/"
    for data in (b"report", b"report"):
        assert copy_to(Folder(folder=pattern), VALUES, data) == f"file://{tmp_path}/2026-W46/ACME.pdf"
    source = tmp_path / "source.pdf"
    source.write_bytes(b"report")
    copy_to(Folder(folder=pattern), VALUES, source, durable=False)
    for other in (b"revised", b"longer than that"):
        with pytest.raises(PermanentError, match=r"2026-W46/ACME\.pdf is there with other content and was not overw"):
            copy_to(Folder(folder=pattern), VALUES, other)
    assert (tmp_path / "2026-W46" / "ACME.pdf").read_bytes() == b"report"
    assert [path.name for path in (tmp_path / "2026-W46").iterdir()] == ["ACME.pdf"]


def test_keys_that_differ_only_in_case_or_in_what_a_file_name_cannot_hold_all_get_theirs(tmp_path):
    keys = ["abc", "ABC", "a/b", "a:b", "a_b"]
    urls = [copy_to(Folder(folder=f"{tmp_path}/"), {**VALUES, "key": key}, key.encode()) for key in keys]
    assert [Path(url).read_text() for url in urls] == keys


class NoCase(MemoryFileSystem):
    """A store that finds `abc` under `ABC`, and keeps the spelling that came first: a Windows share, in short."""

    protocol = "nocase"
    store = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        path = "/" + path.removeprefix("nocase://").strip("/")
        return next((there for there in cls.store if there.casefold() == path.casefold()), path)


def test_keys_that_differ_only_in_case_all_get_theirs_where_case_is_not_told():
    fsspec.register_implementation("nocase", NoCase, clobber=True)
    NoCase.store.clear()
    keys = ["abc", "ABC", "Abc"]
    for _ in range(2):
        urls = [copy_to(Folder(folder="nocase://share/"), {**VALUES, "key": key}, key.encode()) for key in keys]
        assert urls[0] == "nocase://share/abc.pdf"
        assert urls[1].startswith("nocase://share/ABC~")
        assert [NoCase.store[NoCase._strip_protocol(url)].getvalue().decode() for url in urls] == keys
    assert len(NoCase.store) == 3


def test_a_remote_folder_gets_copies_too():
    assert (
        copy_to(Folder(folder="memory://reports/{period}/"), VALUES, b"report") == "memory://reports/2026-W46/ACME.pdf"
    )
    copy_to(Folder(folder="memory://reports/{period}/"), VALUES, b"report")
    with pytest.raises(PermanentError, match="not overwritten"):
        copy_to(Folder(folder="memory://reports/{period}/"), VALUES, b"other")
    fsspec.filesystem("memory").store.clear()


def test_every_field_is_a_field():
    assert set(VALUES) == set(OF_FOLDER)


@pytest.mark.parametrize("place", ["{tmp}/", "memory://overwritten/"])
def test_other_bytes_are_overwritten_only_where_the_file_says_so(tmp_path, place):
    url = place.format(tmp=tmp_path)
    copy_to(Folder(folder=url), VALUES, b"first")
    with pytest.raises(PermanentError, match=r"was not overwritten.* say \{folder: .*, overwrite: true\}"):
        copy_to(Folder(folder=url), VALUES, b"second")
    copied = copy_to(Folder(folder=url, overwrite=True), VALUES, b"second")
    with fsspec.open(copied) as file:
        assert file.read() == b"second"


def test_overwriting_spares_what_belongs_to_another_key_where_case_is_not_told():
    fsspec.register_implementation("nocase", NoCase, clobber=True)
    NoCase.store.clear()
    for _ in range(2):
        for key in ("abc", "ABC"):
            copy_to(Folder(folder="nocase://latest/", overwrite=True), {**VALUES, "key": key}, key.encode())
    assert sorted(file.getvalue() for file in NoCase.store.values()) == [b"ABC", b"abc"]


def test_a_password_is_taken_from_the_environment_and_never_shown(home, monkeypatch):
    asked = []

    class Server(MemoryFileSystem):
        protocol = "passworded"

        def __init__(self, *args, password=None, **options):
            super().__init__(*args, **options)
            asked.append(password)

    fsspec.register_implementation("passworded", Server, clobber=True)
    folder = Folder(folder="passworded://me:$FILES_PASSWORD@files.example/inbox/")
    with pytest.raises(DefinitionError, match=r"needs \$FILES_PASSWORD: set FILES_PASSWORD in the environment"):
        copy_to(folder, VALUES, b"report")
    monkeypatch.setenv("FILES_PASSWORD", "p@ss/word")
    assert "p@ss" not in copy_to(folder, VALUES, b"report")
    assert asked == ["p@ss/word"]
