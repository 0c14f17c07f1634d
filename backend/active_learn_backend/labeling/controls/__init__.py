"""Control tags that can be learned: one file each, registered by its tag name."""

from .base import REGISTRY, ControlTag
from .bitmask_labels import BitmaskLabelsTag
from .brush_labels import BrushLabelsTag
from .choices import ChoicesTag
from .ellipse_labels import EllipseLabelsTag
from .hypertext_labels import HyperTextLabelsTag
from .key_point_labels import KeyPointLabelsTag
from .labels import LabelsTag
from .number import NumberTag
from .pairwise import PairwiseTag
from .paragraph_labels import ParagraphLabelsTag
from .polygon_labels import PolygonLabelsTag
from .rating import RatingTag
from .rectangle_labels import RectangleLabelsTag
from .region_tag import RegionTag
from .slider import SliderTag
from .taxonomy import TaxonomyTag
from .text_area import TextAreaTag
from .time_series_labels import TimeSeriesLabelsTag
from .unlearned import UnlearnedControl

__all__ = [
    "REGISTRY",
    "BitmaskLabelsTag",
    "BrushLabelsTag",
    "ChoicesTag",
    "ControlTag",
    "EllipseLabelsTag",
    "HyperTextLabelsTag",
    "KeyPointLabelsTag",
    "LabelsTag",
    "NumberTag",
    "PairwiseTag",
    "ParagraphLabelsTag",
    "PolygonLabelsTag",
    "RatingTag",
    "RectangleLabelsTag",
    "RegionTag",
    "SliderTag",
    "TaxonomyTag",
    "TextAreaTag",
    "TimeSeriesLabelsTag",
    "UnlearnedControl",
]
