"""The configuration, `kmstream.toml`: its models, and how the file is read.

Everything downstream takes a `Config`; nothing else reads the file. What a key means, its unit included, is said once,
in the `description` of its field: the comments that `kmstream init` writes are made of it, and the tables of
docs/configuration.md.

Read in this order: `models` (one frozen pydantic model per section), `reading` (from a file and overrides to a
`Config`, and what is said of a wrong one).
"""

from kmstream.config.models import (
    Config,
    DatasetConfig,
    DriftConfig,
    EngineConfig,
    FeaturesConfig,
    GateConfig,
    LabelsConfig,
    ModelConfig,
    OutputConfig,
    RetrainConfig,
    Section,
    Threshold,
    TrackingConfig,
    list_sections,
)
from kmstream.config.reading import load_config, parse_config

__all__ = [
    "Config",
    "DatasetConfig",
    "DriftConfig",
    "EngineConfig",
    "FeaturesConfig",
    "GateConfig",
    "LabelsConfig",
    "ModelConfig",
    "OutputConfig",
    "RetrainConfig",
    "Section",
    "Threshold",
    "TrackingConfig",
    "list_sections",
    "load_config",
    "parse_config",
]
