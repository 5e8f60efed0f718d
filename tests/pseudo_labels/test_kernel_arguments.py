"""Kernels take at most eight arguments, their NumPy twins exactly the same ones."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator

import pytest
from numba.core.registry import CPUDispatcher

from cce_ray.pseudo_labels import kernels, reference
from cce_ray.pseudo_labels.kernels import em as em_kernel
from cce_ray.pseudo_labels.kernels import em_lanes as em_lanes_kernel

MOST_ARGUMENTS = 8


def functions_of(room: object, kind: type) -> Iterator[tuple[str, Callable[..., object]]]:
    """("file.name", function) of everything of this kind that is defined in the files of a room."""
    for file in pkgutil.iter_modules(room.__path__):
        module = importlib.import_module(f"{room.__name__}.{file.name}")
        for name, value in vars(module).items():
            function = getattr(value, "py_func", value)
            if isinstance(value, kind) and function.__module__ == module.__name__:
                yield f"{file.name}.{name}", function


def arguments_of(function: Callable[..., object]) -> list[tuple[str, object]]:
    return [(each.name, each.annotation) for each in inspect.signature(function).parameters.values()]


KERNELS = dict(functions_of(kernels, CPUDispatcher))
TWINS = {
    name.removesuffix("_reference"): twin
    for name, twin in functions_of(reference, type(arguments_of))
    if name.endswith("_reference") and name.removesuffix("_reference") in KERNELS
}


@pytest.mark.parametrize("name", KERNELS)
def test_no_kernel_takes_more_than_eight_arguments(name: str) -> None:
    assert len(arguments_of(KERNELS[name])) <= MOST_ARGUMENTS


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_takes_the_arguments_of_its_kernel(name: str) -> None:
    assert arguments_of(TWINS[name]) == arguments_of(KERNELS[name])


def test_the_twins_are_compared_at_all() -> None:
    assert {name.split(".")[0] for name in TWINS} >= {"em", "exact", "extrapolation", "mirror", "pgd"}


def test_both_kernels_of_em_differ_in_their_scratch_alone() -> None:
    arguments = [dict(arguments_of(each)) for each in (em_kernel.em_blocks, em_lanes_kernel.em_lanes)]
    assert list(arguments[0]) == list(arguments[1])
    assert [name for name in arguments[0] if arguments[0][name] != arguments[1][name]] == ["scratch"]
