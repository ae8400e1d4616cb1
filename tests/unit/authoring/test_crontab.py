"""A crontab becomes schedule files that run the same at the same times, or is told line by line why not."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from pipeline import schedule, targets
from pipeline.adapters import home as homes
from pipeline.authoring import crontab
from pipeline.authoring.crontab.naming import name_of

HERE = crontab.Here("Europe/Berlin", {None: "/home/anna", "root": "/root"}.get)


def imported(text, folder=None, **options):
    return crontab.import_crontab(text, "crontab", folder or options.pop("nowhere"), HERE, **options)


@pytest.fixture
def become(tmp_path):
    """What a crontab becomes: the definitions by key, and its lines."""

    def become(text, **options):
        found = imported(text, tmp_path / "schedules", **options)
        return {name.removesuffix(".yaml"): yaml.safe_load(body) for name, body in found.files.items()}, found.lines

    return become


def only(made):
    (definition,) = made[0].values()
    return definition


def carried_out(definition):
    """What the program writes, started as a worker does."""
    command = schedule.parse(definition, "x").command
    environment = {name: targets.resolved(text, {}, {}) for name, text in command.environment.items()}
    words = [targets.filled(word, {}) for word in command.run]
    return subprocess.run(words, env=environment, cwd="/", capture_output=True, text=True, check=True).stdout


# ---- what a line becomes


def test_a_line_runs_the_same_at_the_same_time(become):
    made = become("# Rotates the logs.\n15 2 * * 1-5 /opt/bin/rotate.sh --day 1 >> /var/log/x 2>&1\n")
    assert made[0] == {
        "rotate": {
            "description": "Rotates the logs.",
            "command": {
                "run": ["/bin/sh", "-c", "/opt/bin/rotate.sh --day 1 >> /var/log/x 2>&1"],
                "cwd": "/home/anna",
                "environment": {"PATH": "/usr/bin:/bin", "HOME": "/home/anna"},
                "time_limit": "24h",
            },
            "when": {"cron": "15 2 * * 1-5", "timezone": "Europe/Berlin"},
        }
    }
    (line,) = made[1]
    assert (line.number, line.key, line.file) == (2, "rotate", "rotate.yaml")
    assert (line.when, line.notes) == ("At 02:15 on Monday through Friday, Europe/Berlin time", ())


def test_variables_hold_for_the_lines_below_them(become):
    made, _ = become(
        "0 1 * * * first\nSHELL=/bin/bash\nPATH = '/opt/bin:/bin'\nHOME=/srv/app\nCRON_TZ=Asia/Tokyo\n"
        'MAILTO=ops@x.example\nDAY="a b"\n0 2 * * * second\nMAILTO=""\nRANDOM_DELAY=5\n0 3 * * * third\n'
    )
    second, third = made["second"], made["third"]
    assert made["first"]["command"]["run"][0] == "/bin/sh"
    assert second["command"]["run"] == ["/bin/bash", "-c", "second"]
    assert (second["command"]["cwd"], second["when"]["timezone"], second["notify"]) == (
        "/srv/app", "Asia/Tokyo", ["ops@x.example"],
    )  # fmt: skip
    assert second["command"]["environment"] == {"PATH": "/opt/bin:/bin", "HOME": "/srv/app", "DAY": "a b"}
    assert (third["notify"], third["when"]["jitter"], "notify" in made["first"]) == ([], "5m", False)


@pytest.mark.parametrize(
    ("word", "cron"),
    [("@daily", "0 0 * * *"), ("@Hourly", "0 * * * *"), ("@weekly", "0 0 * * sun"), ("@yearly", "0 0 1 1 *")],
)
def test_words_are_written_out(become, word, cron):
    assert only(become(f"{word} x"))["when"]["cron"] == cron


def test_what_follows_a_percent_sign_is_read_from_standard_input(become):
    definition = only(become(r"0 9 * * * tr a-z A-Z; echo 100\%%it's due,%pay {now}"))
    assert carried_out(definition) == "IT'S DUE,\nPAY {NOW}\n100%\n"


@pytest.mark.parametrize(
    "command", ["echo '{day}' '{{day}}' '{{{day}}}' ${HOME}x", "echo '{\"a\": {b}}' $PATH", "echo $((1 + 1)) {a,b}"]
)
def test_braces_and_dollars_are_the_shells(become, command):
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/home/anna", "PRICE": "$5 {x} ${y}"}
    expected = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert carried_out(only(become(f"PRICE=$5 {{x}} ${{y}}\n0 9 * * * {command}"))) == expected.stdout
    assert carried_out(only(become('PRICE=$5 {x} ${y}\n0 9 * * * echo "$PRICE"'))) == "$5 {x} ${y}\n"


def test_the_user_of_a_system_crontab_is_told(become):
    made, (first, second) = become(
        "17 * * * * root cd / && run-parts /etc/cron.hourly\n0 1 * * * bob /x/y\n", system=True
    )
    assert (made["run_parts_cron_hourly"]["command"]["cwd"], "cwd" in made["y"]["command"]) == ("/root", False)
    assert first.notes == ('runs as whoever runs the workers, not as "root"',)
    assert second.notes[1] == "starts in the pipeline's home: the home of its user is not known here"


def test_a_comment_that_is_a_job_switched_off_describes_nothing(become):
    made, lines = become("# Old.\n# 0 1 * * * /x/old\n0 2 * * * /x/new\n# Far away.\n\n0 3 * * * /x/far\n")
    assert [("description" in one) for one in made.values()] == [False, False]
    assert len(lines) == 2


# ---- what cannot be carried over


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("@reboot /x", "@reboot is not an instant: let the system start it (a systemd unit), or run it by hand"),
        ("@every_5_minutes /x", "@every_5_minutes is not known: write it as five fields, or as `every:`"),
        ("61 * * * * /x", 'cron "61 * * * *": minute 61 is outside 0-59'),
        ("0 0 30 2 * /x", 'cron "0 0 30 2 *": can never fire'),
        ("0~30 1 * * * /x", 'cron "0~30 1 * * *": minute "0~30" is not understood'),
        ("0 1 * * *", "is neither a variable nor five fields and a command"),
        ("0 1 * * * %input", "has no command"),
        ("hello", "is neither a variable nor five fields and a command"),
    ],
)
def test_a_line_that_becomes_nothing_says_why(become, line, why):
    made, (told,) = become(line)
    assert made == {}
    assert told.why.startswith(why)
    assert told.text == line


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("MAILTO=root, ops@x.example\n0 1 * * * x", "MAILTO root is not an address: name one in `notify`"),
        ("MAILFROM=me@x.example\n0 1 * * * x", "MAILFROM is left out: PIPELINE_MAIL_FROM is the sender of all notices"),
        (
            "DB_PASSWORD=x\n0 1 * * * x",
            "DB_PASSWORD stands in the file: set it in .env, and write DB_PASSWORD: $DB_PASSWORD",
        ),
        (
            r"0 1 * * * x $(date +\%F)",
            'asks for the date: "$PIPELINE_DUE_DATE" is the day it was due on, also on a late',
        ),
    ],
)
def test_what_is_not_as_in_cron_is_a_note(become, text, note):
    _, (line,) = become(text)
    assert line.key == "x"
    assert line.notes[0].startswith(note)


# ---- names and files


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/opt/bin/rotate.sh --day 1", "rotate"),
        ("cd /srv/app && ./manage.py clearsessions", "manage_clearsessions"),
        ("test -x /usr/sbin/anacron || ( cd / && run-parts --report /etc/cron.daily )", "run_parts_cron_daily"),
        ("/usr/bin/python3 -m myapp.jobs nightly", "myapp_jobs_nightly"),
        ("nice -n 19 ionice -c2 -n7 /usr/local/bin/backup", "backup"),
        ("flock -n /tmp/x.lock /usr/bin/sync-it --all", "sync_it"),
        ("sudo -u www-data php /var/www/artisan schedule:run >> /dev/null 2>&1", "artisan_schedule_run"),
        ("FOO=bar bash -c 'cd /x; ./z.sh'", "z"),
        ("[ -x /usr/lib/clean ] && if [ ! -d /run/systemd ]; then /usr/lib/clean; fi", "clean"),
        ("echo 'a;b' | mail x", "echo_a_b"),
        ("python /srv/7days.py", "job_7days"),
        ("echo 'not closed", "echo"),
        ("(", "job"),
    ],
)
def test_a_name_is_that_of_the_program_that_matters(command, name):
    assert name_of(command, set()) == name


def test_names_are_unique_and_nobodys_file_is_touched(become, tmp_path):
    folder = tmp_path / "schedules"
    folder.mkdir()
    (folder / "rotate.yml").write_text("task: x\n")
    (folder / "broken.yaml").write_text("{")
    made, _ = become("0 1 * * * rotate a\n0 2 * * * rotate b\n")
    assert list(made) == ["rotate_2", "rotate_3"]


def test_what_was_imported_before_is_known_again(become, tmp_path):
    text = "0 1 * * * rotate a\n0 2 * * * rotate b\n"
    folder = tmp_path / "schedules"
    folder.mkdir()
    for name, body in imported(text, folder).files.items():
        (folder / name).write_text(body)
    made, lines = become(text)
    assert made == {}
    assert [(line.file, line.known) for line in lines] == [("rotate.yaml", True), ("rotate_2.yaml", True)]


def test_the_files_are_in_order_as_they_are(tmp_path):
    folder = tmp_path / "schedules"
    folder.mkdir()
    text = "# Ümläute: \"quoted\" #1\n0 1 * * * mail -s 'a: b' x%line one,%line two\n@weekly /x/y --a='{b}' # c\n"
    for name, body in imported(text, folder).files.items():
        (folder / name).write_text(body, encoding="utf-8")
        assert body.startswith("# From crontab, line ")
    loaded = homes.load(tmp_path)
    assert loaded.errors == {}
    assert sorted(loaded.files) == ["mail", "y"]
