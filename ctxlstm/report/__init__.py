"""The report: every table, figure and claim of the paper beside ours, from run records (sections 4.3 to 6).

studies        statistics over the runs of a study: what may be compared, intervals, paired tests
paper_tables   Tables 1 and 2, Fig. 4, related work
study_tables   our own tables
table, text    a table with its units and legend; tables formatted for reading
figures        pictures of many runs
rules, claims  each claim of the paper, the rule that decides it, and the verdict
page           the report as files
"""

from importlib import import_module
from typing import Any

MODULES = ("claims", "figures", "page", "paper_tables", "rules", "studies", "study_tables", "table", "text")


def __getattr__(name: str) -> Any:
    """The modules of this package, imported on first use."""
    if name in MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
