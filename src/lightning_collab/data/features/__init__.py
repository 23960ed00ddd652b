"""What else is known of users, items and time, from training rows and side tables alone."""

from lightning_collab.data.features.blocks import FeatureBlock
from lightning_collab.data.features.build import FeatureSet, TimeEffect, build_features

__all__ = ["FeatureBlock", "FeatureSet", "TimeEffect", "build_features"]
