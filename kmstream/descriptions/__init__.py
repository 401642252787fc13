"""What a segment is, in words: one sentence from its centroid against the average of all rows, and a name to propose.

A name is only proposed here; people give names (`kmstream labels rename`).

Read in this order: `contrast` (segments against all rows, in numbers), `traits` (what of it is worth telling),
`sentences`, `suggestions` (names).
"""

from kmstream.descriptions.contrast import Contrast, contrast_segments
from kmstream.descriptions.sentences import describe_segments
from kmstream.descriptions.suggestions import suggest_names

__all__ = ["Contrast", "contrast_segments", "describe_segments", "suggest_names"]
