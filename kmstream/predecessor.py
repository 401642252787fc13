"""What a run takes over from the version before it: the space, the centroids, the names."""

from dataclasses import dataclass, replace

import numpy as np

from kmstream.arrays import FloatArray
from kmstream.clustering import ClusterModel
from kmstream.comparison import References, load_references
from kmstream.config import Config, FeaturesConfig
from kmstream.dataset import open_dataset
from kmstream.errors import ConfigError, SchemaMismatchError
from kmstream.features import Scaling, to_original_units, to_scaled_units
from kmstream.fit import Fit
from kmstream.labels import LabelMatch, first_labels, match_by_overlap, match_labels
from kmstream.migration import count_migration
from kmstream.run import Run
from kmstream.store import ModelVersion, Store


@dataclass(frozen=True)
class Predecessor:
    """The version before, as a refit goes on from it.

    Attributes
    ----------
    version : ModelVersion or None
        The current one; None before the first.
    model : ClusterModel or None
        That version's model, where the rows of the run can be assigned to it.
    centroids : ndarray of shape (n_current, n_features) or None
        Its centroids in the space of the refit; None where that has other features.
    references : References or None
        What the refit is compared with; None where there is nothing in the same space.
    """

    version: ModelVersion | None
    model: ClusterModel | None
    centroids: FloatArray | None
    references: References | None

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its segments; none before the first version."""
        return self.version.model.labels if self.version else ()


def take_over(run: Run, current: ModelVersion | None, scaling: Scaling) -> Predecessor:
    """Give what a refit with this scaling takes over from the current version."""
    model = _find_model(run, current, scaling)
    is_same_space = current is not None and current.model.scaling is scaling
    references = load_references(run.store, current) if current and is_same_space else None
    return Predecessor(current, model, _find_centroids(model, run.config.features, scaling), references)


def find_scaling_version(config: Config, store: Store) -> ModelVersion | None:
    """Give the current version if its frozen scaling fits the features asked for; other features are tried afresh."""
    if not store.current:
        return None
    current = store.load_current(config.name)
    try:
        check_same_features(config, current)
    except ConfigError:
        return None
    return current


def load_current(config: Config, store: Store, *, is_space_kept: bool) -> ModelVersion | None:
    """Load the version that a refit goes on from; None before the first.

    Raises
    ------
    ConfigError
        If the refit is to stay in its space, and has other features.
    """
    store.refuse_lost_current()
    if not store.current:
        return None
    current = store.load_current(config.name)
    if is_space_kept:
        check_same_features(config, current)
    return current


def check_same_features(config: Config, current: ModelVersion) -> None:
    """Refuse to go on in the space of a version that has other features.

    Raises
    ------
    ConfigError
    """
    asked, known = config.features, current.model.features
    if asked.weight != known.weight:
        error = ConfigError(f"features.weight is {asked.weight!r}; {current.version} has {known.weight!r}")
        error.add_note("Shares of other weights can't be compared with the model's: all would look like drift.")
        error.add_note("Set it back, or run `kmstream refresh --baseline`: a new reference, the same names.")
        raise error
    for key in ("numeric", "categorical", "log1p", "scaling"):
        if getattr(asked, key) != getattr(known, key):
            error = ConfigError(
                f"features.{key} is {getattr(asked, key)!r}; {current.version} has {getattr(known, key)!r}"
            )
            error.add_note("Scaling is frozen at the baseline, so features can't change between refits.")
            error.add_note("Set it back, or run `kmstream refresh --baseline`: a new scaling, the same names.")
            raise error
    if asked.on_missing != known.on_missing and asked.on_missing in {"mean", "median"}:
        error = ConfigError(f"features.on_missing is {asked.on_missing!r}; {current.version} has {known.on_missing!r}")
        error.add_note("What a missing value becomes is frozen at the baseline; skip and error can be set at any time.")
        error.add_note("Set it back, or run `kmstream refresh --baseline`.")
        raise error


def _find_model(run: Run, current: ModelVersion | None, scaling: Scaling) -> ClusterModel | None:
    """Give the current model as these rows can be assigned to it; None if there is none, or its columns are gone."""
    if current is None:
        return None
    if current.model.scaling is scaling:
        return replace(current.model, features=run.config.features)
    features = current.model.features.model_copy(update={"weight": ""})  # rows weigh what they do in this run
    try:  # a new baseline may have other features: every file must then hold what both models read
        open_dataset(run.config, features=features, paths={p.path for p in run.dataset.partitions})
    except SchemaMismatchError:
        return None
    return replace(current.model, features=features.model_copy(update={"on_missing": "skip"}))


def _find_centroids(before: ClusterModel | None, features: FeaturesConfig, scaling: Scaling) -> FloatArray | None:
    """Give the current centroids in the space of a scaling; None if there are none, or the features differ."""
    if before is None:
        return None
    if before.scaling is scaling:
        return before.centroids
    columns = (before.features.numeric, before.features.categorical, before.scaling.categories)
    if columns != (features.numeric, features.categorical, scaling.categories):
        return None
    original = to_original_units(before.centroids, before.features, before.scaling)
    known = to_scaled_units(original, features, scaling)
    return known if np.isfinite(known).all() else None  # a log1p that is new may have no value for an old centroid


def name_segments(run: Run, before: Predecessor, scaling: Scaling, fit: Fit) -> LabelMatch:
    """Give each new centroid a label: by distance to the known ones, by overlap of rows, or for the first time."""
    limits, used = run.config.labels, run.store.used_labels()
    if before.model is None:
        return LabelMatch.of_new(first_labels(fit.rows, used), before.labels)
    if before.centroids is not None:
        return match_labels(
            fit.centroids,
            before.centroids,
            before.labels,
            max_match_distance=limits.max_match_distance,
            rows=fit.rows,
            used_labels=used,
        )
    unnamed = ClusterModel(run.config.features, scaling, fit.centroids, ("",) * len(fit.centroids))
    migration = count_migration(run, before.model, unnamed)
    return match_by_overlap(migration, before.labels, min_overlap=limits.min_overlap, rows=fit.rows, used_labels=used)
