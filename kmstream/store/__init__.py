"""Model versions on disk: save, load and check, publish, history, lock.

A version is a folder of numbers (Parquet) and JSON, never pickle, with the sha256 of each file; it is written beside
its place and renamed, and no file in it changes afterwards. `CURRENT` names the published version and is replaced last.
What happened to a version later (published, held, promoted, a segment renamed) is in `history.jsonl`, append-only.

Read in this order: `store` (the folder, and what is done with it), `version` (one version as files), `history`,
`unfinished` (what a run that was cut off left to be done), `lock`.
"""

from kmstream.store.history import BECAME_CURRENT, find_frozen_since, find_names_of_today, find_status
from kmstream.store.store import Store
from kmstream.store.version import ModelVersion

__all__ = ["BECAME_CURRENT", "ModelVersion", "Store", "find_frozen_since", "find_names_of_today", "find_status"]
