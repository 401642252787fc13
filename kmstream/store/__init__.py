"""Model versions on disk: save, load and check, publish, history, lock.

A version is a folder of numbers (Parquet) and JSON, never pickle, with the sha256 of each file; it is written beside
its place and renamed, and no file in it changes afterwards. `CURRENT` names the published version and is replaced last.
What happened to a version later (published, held, promoted, a segment renamed) is in `history.jsonl`, append-only.
"""

from kmstream.store.store import Store
from kmstream.store.version import ModelVersion, rename_labels

__all__ = ["ModelVersion", "Store", "rename_labels"]
