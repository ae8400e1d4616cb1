"""Every schedule, report, template and query of this home, without asking or sending anything.

Run it in the home: `python -m pytest`. Rows to try a report with go into tests/rows/NAME.csv (or .json, .parquet).
"""

from pipeline.testing import Catalogue


class TestCatalogue(Catalogue):
    """Each schedule is in order and due again; each report is made from sample rows."""
