"""A check that cannot be done."""

from cce_ray.doctor.check import Check, guarded


def test_a_check_that_breaks_is_a_finding() -> None:
    def missing() -> Check:
        raise ImportError("libcudart.so.13: cannot open\nshared object file")

    check = guarded("cuda", missing)
    assert check.ok is False
    assert check.found == "cannot be checked (ImportError: libcudart.so.13: cannot open shared object file)"
    assert check.remedy == "install cce_ray anew, into an empty environment"
