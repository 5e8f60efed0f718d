"""Files that are written whole or not at all, and read without trusting them."""

from cce_ray.files.atomic import replacing, write_text
from cce_ray.files.records import read_record, write_json
from cce_ray.files.tensor_file import read_tensors, write_tensors
from cce_ray.files.yaml_file import UniqueKeyLoader, read_yaml

__all__ = [
    "UniqueKeyLoader",
    "read_record",
    "read_tensors",
    "read_yaml",
    "replacing",
    "write_json",
    "write_tensors",
    "write_text",
]
