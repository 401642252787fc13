"""A year in the life of a segmentation: thirteen monthly snapshots of customers that come with kmstream.

A baseline is fitted to the first months. From then on a month arrives and is scored; where its drift asks for a new
model, one is fitted to the most recent months, with another seed. The segments keep their names; `show` tells how they
fared.

Read in this order: `year` (what happens), `story` (the figures it leaves behind), `tables` (for people).
"""

from kmstream.demo.story import DemoResult
from kmstream.demo.tables import show
from kmstream.demo.year import Verbs, run_demo

__all__ = ["DemoResult", "Verbs", "run_demo", "show"]
