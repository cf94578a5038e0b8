"""Settings for all unit tests."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Workers of pytest-xdist share the cores; more threads in each only make them wait for each other.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# A slow or shared machine must not fail a property; a failing example must be the same one every
# time.
settings.register_profile(
    "amk", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
# More examples, others each time: pytest --hypothesis-profile slow
settings.register_profile(
    "slow", settings.get_profile("amk"), derandomize=False, max_examples=300, print_blob=True
)
settings.load_profile("amk")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where there is no GPU."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not os.path.exists("/dev/nvidiactl"):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU"))
