"""How many segments? What `choose_k` is made of.

Nothing here reads the whole dataset: the sample is in memory, and true classes are read at sampled rows only.

Read in this order: `fits` (each k fitted to the sample and measured), `truth` (true classes of sampled rows), `advice`
(which k that speaks for).
"""

from kmstream.choose.advice import Advice, find_elbow, recommend
from kmstream.choose.fits import DEFAULT_KS, Truth, assess, check_ks, leave_out, make_matrix
from kmstream.choose.truth import read_truth

__all__ = [
    "DEFAULT_KS",
    "Advice",
    "Truth",
    "assess",
    "check_ks",
    "find_elbow",
    "leave_out",
    "make_matrix",
    "read_truth",
    "recommend",
]
