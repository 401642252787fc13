"""How many segments? Each k fitted to the row sample, measured, and compared.

Nothing here reads the whole dataset: the sample is in memory, and true classes are read at sampled rows only.

Read in this order: `compare` (which k are tried, and what comes of it), `fits` (each of them fitted and measured),
`advice` (which one that speaks for), `classes` (the true classes of sampled rows), `result` (the page).
"""

from kmstream.choose.classes import read_classes
from kmstream.choose.compare import DEFAULT_KS, Choice, check_ks, compare_ks
from kmstream.choose.result import report_choice

__all__ = ["DEFAULT_KS", "Choice", "check_ks", "compare_ks", "read_classes", "report_choice"]
