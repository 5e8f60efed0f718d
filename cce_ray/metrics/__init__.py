"""Metrics: scores that need labels (`clustering`) and criteria that need none (`unsupervised`)."""

from cce_ray.metrics.clustering import (
    MatchedConfusion,
    clustering_scores,
    confusion_matrix,
    hungarian_accuracy,
    match_clusters,
    matched_confusion,
)
from cce_ray.metrics.merging import merge_clusters
from cce_ray.metrics.neighbours import nearest_neighbours
from cce_ray.metrics.shared_space import (
    SharedSpace,
    chosen_points,
    make_shared_space,
    mutual_information,
    principal_components,
)
from cce_ray.metrics.unsupervised import (
    FEW_USED,
    USED_SHARE,
    cluster_sizes,
    collapse_warning,
    label_churn,
    mean_confidence,
    stability,
    used_clusters,
)

__all__ = [
    "FEW_USED",
    "USED_SHARE",
    "MatchedConfusion",
    "SharedSpace",
    "chosen_points",
    "cluster_sizes",
    "clustering_scores",
    "collapse_warning",
    "confusion_matrix",
    "hungarian_accuracy",
    "label_churn",
    "make_shared_space",
    "match_clusters",
    "matched_confusion",
    "mean_confidence",
    "merge_clusters",
    "mutual_information",
    "nearest_neighbours",
    "principal_components",
    "stability",
    "used_clusters",
]
