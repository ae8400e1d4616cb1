"""Artifacts are put into real directories, a small disk that fills up, and remote stores: whole, or not at all."""

import hashlib
import os
import resource
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest

from pipeline.adapters import storage
from pipeline.adapters.storage import Storage
from pipeline.errors import DefinitionError, Parked, PermanentError, TransientError
from pipeline.settings import settings

ROOT = Path(__file__).parents[3]
PDF = b"%PDF-1.7 " + os.urandom(12_000)
SHA = hashlib.sha256(PDF).hexdigest()


@pytest.fixture(params=["directory", "file://", "memory://", "local://"])
def store(request, tmp_path):
    """Stores of every kind: `local` is a file system of fsspec's that writes aside and renames, as SFTP does."""
    places = {"directory": str(tmp_path / "store"), "memory://": f"memory://{tmp_path.name}"}
    yield Storage(places.get(request.param) or f"{request.param}{tmp_path / 'store'}")
    fsspec.filesystem("memory").store.clear()


def files(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_bytes_come_back_under_a_name_that_holds_their_sha256(store):
    stored = store.put(PDF, "pdf", ".pdf")
    assert stored == storage.Stored(SHA, len(PDF), f"pdf/{SHA[:2]}/{SHA}.pdf")
    assert store.read(stored.uri, verify=True) == PDF
    with store.open(stored.uri) as file:
        assert file.read(8) == b"%PDF-1.7"


def test_a_file_is_stored_like_its_bytes_and_stays_where_it_was(store, tmp_path):
    source = tmp_path / "dataset.parquet"
    source.write_bytes(PDF)
    assert store.put(source, "dataset", "parquet") == store.put(PDF, "dataset", "parquet")
    assert source.read_bytes() == PDF
    assert store.read(store.put(source, "dataset", "parquet").uri) == PDF


def test_an_empty_artifact_is_one_too(store):
    assert store.read(store.put(b"", "rows", "csv").uri, verify=True) == b""


def test_what_is_there_is_not_written_again_but_counts_as_new(tmp_path):
    store = Storage(str(tmp_path))
    file = tmp_path / store.put(PDF, "pdf", "pdf").uri
    before = file.stat()
    os.utime(file, (1, 1))
    store.put(PDF, "pdf", "pdf")
    after = file.stat()
    assert after.st_ino == before.st_ino
    assert time.time() - after.st_mtime < 60


def test_a_file_cut_short_by_a_dying_machine_is_written_again(tmp_path):
    store = Storage(str(tmp_path))
    stored = store.put(PDF, "pdf", "pdf")
    (tmp_path / stored.uri).write_bytes(b"")
    assert store.put(PDF, "pdf", "pdf") == stored
    assert store.read(stored.uri, verify=True) == PDF


def test_nothing_but_whole_files_is_left_in_the_store(store, tmp_path):
    store.put(PDF, "pdf", "pdf")
    store.put(b"a;b\n", "csv", "csv")
    if (tmp_path / "store").exists():
        assert [name.rpartition(".")[2] for name in files(tmp_path / "store")] == ["csv", "pdf"]


def test_a_damaged_artifact_is_noticed_where_asked(store, tmp_path):
    stored = store.put(PDF, "pdf", "pdf")
    store.folder.write(stored.uri, b"something else", replace=True)
    assert store.read(stored.uri) == b"something else"
    with pytest.raises(PermanentError, match="is damaged"):
        store.read(stored.uri, verify=True)


def test_a_missing_artifact_is_named_with_its_store(store, tmp_path):
    store.begin(None)
    for look in (store.read, store.open, lambda uri: store.local_path(uri, tmp_path / "cache")):
        with pytest.raises(PermanentError, match=r"artifact pdf/00/00\.pdf is missing from .*" + tmp_path.name):
            look("pdf/00/00.pdf")


def test_a_store_that_is_not_mounted_is_told_from_an_artifact_that_is_missing(store, tmp_path):
    for look in (store.read, store.open, lambda uri: store.local_path(uri, tmp_path / "cache")):
        with pytest.raises(Parked, match=r"the artifact store is not at .*: there is no artifact-store\.txt"):
            look("pdf/00/00.pdf")
    with pytest.raises(Parked):
        store.check()


def test_a_store_is_begun_only_where_its_artifacts_are(store, tmp_path):
    assert not store.is_there()
    with pytest.raises(Parked, match="mount it, or correct PIPELINE_STORAGE_URL"):
        store.begin("pdf/00/00.pdf")
    assert not store.is_there()
    store.begin(store.put(PDF, "pdf", "pdf").uri)
    store.check()


def test_a_path_that_leads_out_of_the_store_is_refused(store):
    with pytest.raises(PermanentError, match="leads out of"):
        store.read("../../etc/passwd")


def test_a_local_artifact_is_used_in_place_and_a_remote_one_fetched_once(store, tmp_path):
    stored = store.put(PDF, "pdf", "pdf")
    cache = tmp_path / "cache"
    path = store.local_path(stored.uri, cache)
    assert path.read_bytes() == PDF
    if cache.exists():
        store.delete(stored.uri)
        assert store.local_path(stored.uri, cache) == path
        assert files(cache) == [stored.uri]
    else:
        assert path == tmp_path / "store" / stored.uri


def test_a_damaged_remote_artifact_does_not_get_into_the_cache(tmp_path):
    store = Storage(f"memory://{tmp_path.name}")
    stored = store.put(PDF, "pdf", "pdf")
    store.folder.write(stored.uri, b"something else", replace=True)
    with pytest.raises(PermanentError, match="is damaged"):
        store.local_path(stored.uri, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_deleting_twice_is_as_good_as_once(store):
    stored = store.put(PDF, "pdf", "pdf")
    store.begin(stored.uri)
    store.delete(stored.uri)
    store.delete(stored.uri)
    with pytest.raises(PermanentError, match="is missing"):
        store.read(stored.uri)


def test_whoever_deletes_by_age_spares_what_was_stored_again(store):
    stored = store.put(PDF, "pdf", "pdf")
    night = datetime.now(UTC)
    time.sleep(0.05)  # the kernel's file times lag behind its clock by some milliseconds
    store.put(PDF, "pdf", "pdf")
    assert not store.delete(stored.uri, unless_stored_since=night)
    assert store.read(stored.uri) == PDF
    assert store.delete(stored.uri, unless_stored_since=night + timedelta(hours=1))
    assert store.delete(stored.uri, unless_stored_since=night)


def test_free_room_is_known_before_the_store_is_made(tmp_path):
    assert Storage(str(tmp_path / "not" / "yet")).free_bytes() == pytest.approx(
        shutil.disk_usage(tmp_path).free, rel=0.1
    )
    assert Storage("memory://x").free_bytes() is None


def test_what_a_killed_process_left_behind_is_removed_when_it_is_old(tmp_path):
    store = Storage(str(tmp_path))
    stored = store.put(PDF, "pdf", "pdf")
    old, new = tmp_path / "pdf" / ".0123.part", tmp_path / "pdf" / ".4567.part"
    for leftover in (old, new):
        leftover.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert store.remove_leftovers() == 1
    assert files(tmp_path) == sorted(["pdf/.4567.part", stored.uri])


FILL = """
import sys
from pipeline.adapters.storage import Storage
from pipeline.errors import TransientError
store = Storage(sys.argv[1])
kept = [store.put(bytes([number]) * 20_000, "pdf", "pdf") for number in range(2)]
try:
    store.put(b"x" * 200_000, "pdf", "pdf")
except TransientError as error:
    print(error)
assert [len(store.read(stored.uri, verify=True)) for stored in kept] == [20_000, 20_000]
store.delete(kept[0].uri)
store.put(b"y" * 20_000, "pdf", "pdf")
"""
READ_ONLY = """
import sys
from pipeline.adapters.storage import Storage
from pipeline.errors import TransientError
try:
    Storage(sys.argv[1]).put(b"z", "pdf", "pdf")
except TransientError as error:
    print(error)
"""


def test_a_full_disk_and_a_read_only_one_are_named_and_nothing_partial_stays(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"""
        mount -t tmpfs -o size=96k tmpfs {disk} || exit 77
        {sys.executable} -c '{FILL}' {disk} || exit 1
        find {disk} -type f -name '.*'
        mount -o remount,ro {disk} || exit 1
        {sys.executable} -c '{READ_ONLY}' {disk}
    """
    # A mount of its own, seen by nobody else and gone with the process; -U lets others than root have one.
    own = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    done = subprocess.run([*own, "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no right to mount a small disk here")
    full, read_only = done.stdout.splitlines()
    assert full.startswith(f"{disk}: cannot store pdf/")
    assert full.endswith("the disk is full; nothing of it was kept")
    assert "it is read-only" in read_only
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_larger_than_the_process_may_write_leaves_nothing_behind(tmp_path):
    store = Storage(str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(TransientError, match="the file is larger than is allowed there"):
            store.put(PDF, "pdf", "pdf")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(tmp_path) == []
    store.put(PDF, "pdf", "pdf")


def test_a_directory_where_there_is_a_file_is_named(tmp_path):
    (tmp_path / "store").write_text("no directory")
    with pytest.raises(
        TransientError, match=r"store: cannot store pdf/.*: there is a file where a directory should be"
    ):
        Storage(str(tmp_path / "store")).put(PDF, "pdf", "pdf")


def test_a_remote_store_that_fails_is_named_and_keeps_nothing(tmp_path, monkeypatch):
    store = Storage(f"local://{tmp_path / 'store'}")

    def away(*_):
        raise RuntimeError("the line is dead")

    monkeypatch.setattr(store.folder.system, "mv", away)
    with pytest.raises(TransientError, match=r"^local://.*: cannot store pdf/.*: the line is dead"):
        store.put(PDF, "pdf", "pdf")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s3://key:secret@bucket", "lacks its driver"),
        ("nowhere://x", "is no place to store"),
        ("https://example.org/x", "cannot be written to"),
        ("file://reports/x", "needs three slashes"),
    ],
)
def test_a_url_that_cannot_be_a_store_is_refused_without_its_secret(url, reason):
    with pytest.raises(DefinitionError, match=reason) as caught:
        Storage(url)
    assert "secret" not in str(caught.value)


def test_the_process_has_one_store_where_the_settings_say(home, monkeypatch):
    assert storage.store() is storage.store()
    assert str(storage.store()) == str(home / "var" / "artifacts")
    monkeypatch.setenv("PIPELINE_STORAGE_URL", str(home / "elsewhere"))
    settings.cache_clear()
    assert str(storage.store()) == str(home / "elsewhere")
