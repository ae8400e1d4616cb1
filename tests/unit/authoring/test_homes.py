from __future__ import annotations

import pytest

from pipeline.authoring import homes, schema
from pipeline.errors import Refused


def test_a_new_home_has_everything_under_its_own_name(tmp_path):
    written = homes.create(tmp_path / "ours")
    assert {str(path) for path in written} == {
        ".dockerignore", ".env", ".gitignore", "Dockerfile", "README.md", "data/people.csv", "data/stock.csv",
        "reports/README.md", "schedule.schema.json", "schedules/retention.yaml", "schedules/stock.yaml",
        "templates/README.md", "tests/conftest.py", "tests/test_catalogue.py", "tests/test_stock.py",
        "workflows/count_lines.py",
    }  # fmt: skip
    assert all((tmp_path / "ours" / path).is_file() for path in written)
    assert (tmp_path / "ours" / schema.FILE).read_text(encoding="utf-8") == schema.text()
    assert len((tmp_path / "ours" / "Dockerfile").read_text().splitlines()) == 2
    assert (tmp_path / "ours" / ".env").stat().st_mode & 0o077 == 0


def test_an_empty_folder_will_do_even_one_under_git(tmp_path):
    (tmp_path / ".git").mkdir()
    homes.create(tmp_path)
    assert (tmp_path / "schedules" / "stock.yaml").is_file()


def test_a_folder_in_use_is_refused_naming_what_is_in_the_way(tmp_path):
    for name in ("a.txt", "b.txt", "c.txt", "d.txt", "e.txt", "f.txt"):
        (tmp_path / name).touch()
    with pytest.raises(Refused, match=r"is not empty: a.txt, b.txt, c.txt, d.txt and 2 more would be in the way"):
        homes.create(tmp_path)
    assert len(list(tmp_path.iterdir())) == 6
    with pytest.raises(Refused, match="is a file: name a folder"):
        homes.create(tmp_path / "a.txt")
