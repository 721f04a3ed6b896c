"""The feature networks that a suite can name."""

from __future__ import annotations

from collections.abc import Mapping

from .base import FeatureNetwork
from .efficientnet_lite0 import EfficientNetLite0
from .inception import Inception

FEATURE_NETWORKS: Mapping[str, type[FeatureNetwork]] = {cls.kind: cls for cls in (Inception, EfficientNetLite0)}
