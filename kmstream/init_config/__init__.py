"""A first `kmstream.toml` for a dataset, from its footers and a few rows: what `kmstream init` writes.

Read in this order: this file (from a dataset to a file), `facts` (what is known of each column), `judge` (which is a
feature, and why not), `render` (the text, every key with its default and its comment).
"""

import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kmstream.config import Config, DatasetConfig, FeaturesConfig, parse_config
from kmstream.dataset import Dataset, open_dataset, split_glob
from kmstream.errors import ConfigError, DataError, MemoryLimitError
from kmstream.init_config.judge import Column, judge_columns
from kmstream.init_config.render import render_config
from kmstream.plan import make_plan
from kmstream.storage import replace_file
from kmstream.wording import count

N_CLUSTERS = 5
HEAVY_TAIL = 5.0  # a few values widen the standard deviation this much; they would get segments of their own
CLIP = 10.0  # then, in units of the middle half of the values
_DULL_NAMES = {"data", "dataset", "datasets", "input", "parquet", "files", "raw", "tmp", "output", "out"}


@dataclass(frozen=True)
class Survey:
    """What `init` found, and made of it.

    Attributes
    ----------
    values : dict of str to object
        Of the configuration, by dotted key, where they are not the defaults.
    """

    dataset: str
    partitions: int
    rows: int
    columns: tuple[Column, ...]
    values: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {
            "dataset": self.dataset,
            "name": self.values["name"],
            "partitions": self.partitions,
            "rows": self.rows,
            "numeric": self.values["features.numeric"],
            "log1p": self.values["features.log1p"],
            "key_offered": [one.name for one in self.columns if one.is_key],
            "categorical_offered": [one.name for one in self.columns if one.use == "offered"],
            "left_out": [{"column": one.name, "why": one.why} for one in self.columns if one.use == "left out"],
            "on_missing": self.values.get("features.on_missing", "error"),
        }


def write_config(dataset: str, target: Path, *, force: bool = False) -> Survey:
    """Write a commented, working configuration for a dataset.

    Parameters
    ----------
    dataset : str
        A file, folder, glob or URI.
    target : Path
        The file to write.
    force : bool
        Replace a file that is there.

    Raises
    ------
    ConfigError
        If the file is there and `force` is not given.
    DataError
        If the dataset can't be read, or has no column that could be a numeric feature.
    OutputError
    """
    if target.exists() and not force:
        error = ConfigError(f"{target} is there already")
        error.add_note("Give --force to replace it, or -o PATH to write another file.")
        raise error
    folder = target.absolute().parent
    survey = survey_dataset(dataset, folder)
    seen = f"{count(survey.rows, 'row')} in {count(survey.partitions, 'file')}"
    text = render_config(survey.columns, survey.values, seen=seen)
    config = parse_config(tomllib.loads(text), base_dir=folder)
    if limit := _find_memory_limit(config):
        survey = replace(survey, values={**survey.values, "engine.memory_limit": limit})
        text = render_config(survey.columns, survey.values, seen=seen)
    replace_file(target, text)
    return survey


def survey_dataset(dataset: str, folder: Path) -> Survey:
    """Look at a dataset's footers and a few rows, and choose.

    Parameters
    ----------
    dataset : str
    folder : Path
        Where the configuration will lie.

    Raises
    ------
    DataError
    """
    path = dataset if "://" in dataset else str(Path(dataset).expanduser().absolute())
    found = _open_without_features(path)
    columns = judge_columns(found)
    numeric = [one for one in columns if one.use == "numeric"]
    if not numeric:
        error = DataError(f"no column of {dataset} can be a numeric feature; {len(columns)} were looked at")
        error.add_note("; ".join(f"{one.name}: {one.why}" for one in columns[:8]) or "the files have no columns")
        error.add_note("Write the columns as numbers, or name them by hand in the [features] of a kmstream.toml.")
        raise error
    name = _find_name(path)
    values: dict[str, Any] = {
        "name": name,
        "dataset.path": _relative(path, folder),
        "features.numeric": [one.name for one in numeric],
        "features.categorical": [],
        "features.log1p": [one.name for one in numeric if one.log1p],
        "model.n_clusters": min(N_CLUSTERS, max(found.rows, 1)),
    }
    if any(HEAVY_TAIL < one.tail < math.inf for one in numeric):
        values["features.clip"] = CLIP
        if all(one.tail < math.inf for one in numeric):  # robust scaling divides by the middle half of the values
            values["features.scaling"] = "robust"
    if any(one.missing for one in numeric):
        values["features.on_missing"] = "skip"
    if "://" not in path and Path(path).is_dir() and (folder / "out").is_relative_to(path):
        values["output.path"] = os.path.relpath(Path(path).parent / f"{name}-out", folder)
    return Survey(dataset, len(found.partitions), found.rows, tuple(columns), values)


def _open_without_features(path: str) -> Dataset:
    """Find the files and read their footers before any feature is known."""
    none = FeaturesConfig.model_construct()  # a config that people write must name one
    return open_dataset(Config.model_construct(name="", dataset=DatasetConfig(path=path), features=none))


def _find_memory_limit(config: Config) -> str | None:
    """Give a larger memory limit where wide rows or many cores don't fit into the default one."""
    dataset, limit = open_dataset(config), config.engine.memory_limit
    while True:
        tried = config.model_copy(update={"engine": config.engine.model_copy(update={"memory_limit": limit})})
        try:
            make_plan(tried, dataset)
        except MemoryLimitError:
            limit *= 2
        else:
            return None if limit == config.engine.memory_limit else f"{limit >> 30}GiB"


def _find_name(path: str) -> str:
    """Name a segmentation after the folder of its data, or after the file if it is one.

    Examples
    --------
    >>> (
    ...     _find_name("/srv/Online Retail/data"),
    ...     _find_name("s3://shop/rfm/*.parquet"),
    ...     _find_name("/srv/customers.parquet"),
    ... )
    ('online-retail', 'rfm', 'customers')
    """
    folder, _ = split_glob(path)
    parts = [part for part in (folder.partition("://")[2] or folder).split("/") if part and "=" not in part]
    for part in reversed(parts):
        stem = part.partition(".")[0].lower()
        slug = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")
        if slug and slug not in _DULL_NAMES:
            return slug
    return "segmentation"


def _relative(path: str, folder: Path) -> str:
    """Write a path as the file in `folder` should have it: relative if it begins there, as `../data`, else absolute."""
    if "://" in path:
        return path
    return Path(path).relative_to(folder).as_posix() if Path(path).is_relative_to(folder) else path
