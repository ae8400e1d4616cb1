"""A report that failed is mended and run again by its generation: everybody gets theirs, and nobody twice."""

import json

from pipeline.models import Run, Step
from tests.functional.running import RECIPIENTS, REPORT, Running

BROKEN = """
def build(rows, period):
    if rows[0]["customer"] == "BETA":
        raise ValueError("no rates for BETA")
    return {}
"""


def test_what_failed_is_rendered_again_and_who_had_theirs_gets_nothing_more(sqlite_pipeline: Running) -> None:
    up = sqlite_pipeline
    up.schedule("mended", REPORT + RECIPIENTS + "allow_failed: 60%\n", **{"reports/mended.py": BROKEN})
    run = up.run("mended")
    assert (run.status, up.documents(run)["BETA"].status) == ("partial", "failed")
    assert sent_to(up, run) == ["ok+acme2@example.org", "ok+acme@example.org"]

    (up.home / "reports" / "mended.py").write_text("def build(rows, period):\n    return {}\n")
    told = json.loads(up.command("rerun", str(run.id), "--json", check=True).stdout)
    assert (told["generation"], told["new"]) == (2, True)
    assert up.finished(run.id).status == "succeeded"

    assert sent_to(up, run) == ["ok+acme2@example.org", "ok+acme@example.org", "ok+beta@example.org"]
    generations = {step.name: step.generation for step in up.rows(Step, Step.run_id == run.id)}
    assert (generations["plan"], generations["gate"], generations["finish"]) == (1, 2, 2)

    up.command("rerun", str(run.id), "--all", "--force", "ok+acme@example.org", check=True)
    assert up.finished(run.id).status == "succeeded"
    beside = [one for one in sent_to(up, run) if "acme@" in one]
    assert (len(beside), len(sent_to(up, run))) == (2, 4)
    assert {one.generation for one in up.rows_of_attempts(run.id)} == {1, 2, 3}


def sent_to(up: Running, run: Run) -> list[str]:
    """By the SMTP server's own log."""
    address_of = {str(one.id): one.address for one in up.rows_of_deliveries(run)}
    return sorted(address_of[line["delivery"]] for line in up.smtp.taken() if line["delivery"] in address_of)
