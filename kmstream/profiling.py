"""The profile of a version, for people to look at."""

from collections.abc import Sequence
from typing import Any

from kmstream.config import Config
from kmstream.errors import ConfigError
from kmstream.profile import tell_profile
from kmstream.store import Store


def profile_version(config: Config, version: str | None = None, *, features: Sequence[str] = ()) -> dict[str, Any]:
    """Tell which features separate the segments of a version, and what each segment looks like in them.

    Parameters
    ----------
    config : Config
    version : str, optional
        The current one by default.
    features : sequence of str
        Only these are told of: columns as "channel=web", or features, which a categorical one is with all its
        columns. All by default. No figure depends on what is left out; `closest` is of all features.

    Returns
    -------
    dict
        name, version, rows, and what `tell_profile` gives.

    Raises
    ------
    ModelNotFoundError
        If there is no such version.
    ConfigError
        If the version has no such feature.
    """
    found = Store(config.output.path).load(version)
    model = found.model
    told = tell_profile(found.summary, found.sample, model.labels, model.features, model.scaling)
    columns = [line["feature"] for line in told["features"]]
    wanted = set(columns) if not features else {name for one in features for name in _find_columns(one, columns)}
    for one in features:
        if not _find_columns(one, columns):
            error = ConfigError(f"{found.version} has no feature {one!r}")
            error.add_note(f"It has: {', '.join([*model.features.numeric, *model.features.categorical])}.")
            raise error
    return {"name": config.name, "version": found.version, "rows": found.summary.n_rows} | {
        **told,
        "features": [line for line in told["features"] if line["feature"] in wanted],
        "segments": [
            segment | {"features": {name: segment["features"][name] for name in columns if name in wanted}}
            for segment in told["segments"]
        ],
        "pairs": [line for line in told["pairs"] if line["feature"] in wanted],
    }


def _find_columns(feature: str, columns: Sequence[str]) -> list[str]:
    """Find the column of that name, else those of its categories."""
    return [name for name in columns if name == feature] or [name for name in columns if name.startswith(f"{feature}=")]
