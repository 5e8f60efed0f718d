"""Which columns of a table look like labels or ids by their names: neither are features."""

from __future__ import annotations

import re

FILE_COLUMN = "file"
"""The column in which `cce embed` keeps the name of each image."""
# fmt: off
_LABEL_NAMES = frozenset((
    "label", "labels", "y", "target", "targets", "class", "classes", "category", "categories", "cluster",
    "clusters", "species", "groundtruth", "gt", "truth",
))
_ID_NAMES = frozenset((
    "id", "ids", "idx", "index", "indices", "row", "rows", "rownum", "rownumber", "rownr", "rowid", "rowname",
    "rownames", "uuid", "guid", "pk", "key", "indexlevel0", "level0", "unnamed0", "file", "filename", "path",
))
# fmt: on
_LABEL_ENDING = re.compile(r"[_\-. ](label|class|target|category)(es|s|ies)?$", re.IGNORECASE)
_ID_ENDING = re.compile(r"([_\-. ](id|ids|idx|index|uuid)|[a-z](Id|ID|Idx|Index|UUID))$")


def looks_like_labels(name: str) -> bool:
    """Whether a column called so holds classes by the usual names, whatever their case and separators."""
    return _plain(name) in _LABEL_NAMES or bool(_LABEL_ENDING.search(name)) or _is_class_number(name)


def looks_like_ids(name: str) -> bool:
    """Whether a column called so holds ids or row numbers, as people, pandas, R or polars write them."""
    return not _is_class_number(name) and (
        _plain(name) in _ID_NAMES or bool(_ID_ENDING.search(name) or _ID_ENDING.search(name.lower()))
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _is_class_number(name: str) -> bool:
    """`class_id`, `labelIndex` and the like: numbers of classes, not of rows."""
    return re.fullmatch(r"(label|class|target|category|cluster)(id|ids|idx|index)", _plain(name)) is not None
