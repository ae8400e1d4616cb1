"""`pipeline import-crontab`: files are written, each line is told, and lost ones are an exit code."""

from __future__ import annotations

import json

CRONTAB = "CRON_TZ=Europe/Berlin\n0 1 * * * /opt/bin/rotate.sh\n@reboot /x\n"


def test_lines_become_files_and_what_did_not_is_told(typed, home, tmp_path):
    (tmp_path / "crontab.txt").write_text(CRONTAB)
    result = typed("import-crontab", str(tmp_path / "crontab.txt"))
    assert result.exit_code == 1
    assert "line 2: rotate.yaml  At 01:00 every day, Europe/Berlin time" in result.stdout
    assert "line 3: not carried over: @reboot is not an instant" in result.stdout
    assert "1 file is written to" in result.stdout
    assert "cron: 0 1 * * *" in (home / "schedules" / "rotate.yaml").read_text()
    again = typed("import-crontab", str(tmp_path / "crontab.txt"))
    assert "line 2: rotate.yaml is there already" in again.stdout


def test_a_dry_run_writes_nothing_and_machines_read_json(typed, home, tmp_path):
    (tmp_path / "crontab.txt").write_text(CRONTAB.replace("@reboot", "@daily"))
    result = typed(
        "import-crontab", str(tmp_path / "crontab.txt"), "--dry-run", "--json", "--into", str(tmp_path / "new")
    )
    assert result.exit_code == 0
    assert [line["file"] for line in json.loads(result.stdout)] == ["rotate.yaml", "x.yaml"]
    assert not (tmp_path / "new").exists()
    assert list((home / "schedules").iterdir()) == []


def test_a_file_that_is_not_there_and_a_zone_that_is_none_are_refused(typed, home, tmp_path):
    assert "nowhere cannot be read: No such file or directory" in typed("import-crontab", "nowhere").stderr
    (tmp_path / "crontab.txt").write_text(CRONTAB)
    result = typed("import-crontab", str(tmp_path / "crontab.txt"), "--timezone", "Europe/Berln")
    assert (result.exit_code, "did you mean" in result.stderr) == (2, True)
