"""Settings of the cocotb runs of this folder."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def _rewrite_only_our_assertions():
    """cocotb prepares every module a bench imports for readable assertions; ours are enough.

    The rest, numpy above all, costs more than half a second in each of some sixty runs.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COCOTB_REWRITE_ASSERTION_FILES", "test_*.py *_bench.py bench_tools.py")
        yield
