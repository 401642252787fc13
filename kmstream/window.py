"""What a score is about: the partitions that are new or changed, and those that are gone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kmstream.assignments import (
    MANIFEST,
    Entry,
    find_pending,
    find_removed,
    is_version,
    read_manifest,
    staging_folder,
)
from kmstream.config import Config
from kmstream.dataset import Dataset, open_dataset
from kmstream.errors import ModelNotFoundError
from kmstream.storage import Place
from kmstream.store import ModelVersion, Store
from kmstream.who_moved import Assignments


@dataclass(frozen=True)
class Window:
    """The partitions that a score is about.

    Attributes
    ----------
    version : ModelVersion
        The current one, by which they are assigned.
    folder, staging : Place
        Where its assignments are, and where those of this run are until all of them can be seen.
    listed : mapping of str to Entry
        What the manifest holds.
    removed : tuple of str
        Those of them whose files are gone.
    kept : mapping of str to Entry
        The others.
    dataset : Dataset
        With the partitions to assign.
    is_whole : bool
        Whether these are all that are new or changed.
    """

    version: ModelVersion
    folder: Place
    staging: Place
    listed: Mapping[str, Entry]
    removed: tuple[str, ...]
    kept: Mapping[str, Entry]
    dataset: Dataset
    is_whole: bool

    @property
    def earlier(self) -> Assignments:
        """What had been assigned before this run."""
        return Assignments(self.folder, self.version.model.labels, self.listed)


def find_window(config: Config, store: Store, current: ModelVersion, only: Sequence[str], since: str | None) -> Window:
    """Find what the current version has not assigned yet, or what has changed since.

    Parameters
    ----------
    config : Config
    store : Store
    current : ModelVersion
    only : sequence of str
        Globs that limit the partitions.
    since : str or None
        A version: what is new or changed since that one assigned it.

    Raises
    ------
    ModelNotFoundError
        If the assignments of `since` are not there.
    """
    folder, dataset = store.assignments(current.version), open_dataset(config, only)
    listed = read_manifest(folder)
    removed = find_removed(listed, dataset, only)
    gone = set(removed)
    kept = {path: entry for path, entry in listed.items() if path not in gone}
    pending = replace(dataset, partitions=find_pending(dataset, _read_since(store, since) if since else kept))
    is_whole = not only and since is None
    return Window(current, folder, staging_folder(folder), listed, removed, kept, pending, is_whole)


def _read_since(store: Store, version: str) -> dict[str, Entry]:
    """Read which partitions a version assigned."""
    entries = read_manifest(store.assignments(version)) if is_version(version) else {}
    if not entries:
        found = (path.parent.name for path in (store.output / "assignments").glob(f"v*/{MANIFEST}"))
        error = ModelNotFoundError(
            f"there are no assignments of {version!r}; there are those of {', '.join(sorted(found))}"
        )
        error.add_note("Those of older versions are removed: output.keep_versions says how many stay.")
        raise error
    return entries
