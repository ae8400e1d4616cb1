"""Every schedule, report, template and query parameter of this home, checked without running anything.

Run it in the home: `python -m pytest` (or `pipeline check`, which says the same).
"""

from pipeline.authoring.check import check


def test_everything_is_in_order() -> None:
    faults = check().faults
    assert not faults, "\n" + "\n".join(map(str, faults))
