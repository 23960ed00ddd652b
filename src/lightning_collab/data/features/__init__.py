"""What else is known of users, items and time, from training rows and side tables alone."""

from lightning_collab.data.features.blocks import FeatureBlock
from lightning_collab.data.features.build import FeatureSet, build_features
from lightning_collab.data.features.time_effect import TimeEffect

__all__ = ["FeatureBlock", "FeatureSet", "TimeEffect", "build_features"]
