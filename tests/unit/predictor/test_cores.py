"""The cores of the pod and not of the node, and how forward passes share them."""

import os
import time

import numpy as np
import pytest

from moorage_predictor.engine.cores import available
from moorage_predictor.engine.split import measure

NODE = len(os.sched_getaffinity(0))
ROW = np.zeros((1, 4), dtype=np.float32)


def version_2(folder, text):
    (folder / "cpu.max").write_text(text)
    return folder


def version_1(folder, quota):
    (folder / "cpu").mkdir()
    (folder / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    return folder


class TestCores:
    def test_without_a_quota_all_that_the_process_may_run_on(self, tmp_path):
        assert available(version_2(tmp_path, "max 100000\n")) == NODE

    @pytest.mark.parametrize(("quota", "cores"), [("50000", 1), ("100000", 1), ("150000", 2), ("6400000", 64)])
    def test_a_quota_bounds_them(self, tmp_path, quota, cores):
        assert available(version_2(tmp_path, f"{quota} 100000\n")) == min(NODE, cores)

    @pytest.mark.parametrize(("quota", "cores"), [("-1", NODE), ("100000", 1)])
    def test_the_older_control_groups_too(self, tmp_path, quota, cores):
        assert available(version_1(tmp_path, quota)) == cores

    @pytest.mark.parametrize("text", ["", "nonsense", "1 2 3"])
    def test_what_cannot_be_read_bounds_nothing(self, tmp_path, text):
        assert available(version_2(tmp_path, text)) == NODE


def works_for(seconds_of_a_row):
    """A forward pass that takes this long for a row on so many cores; in its sleep others may work."""

    def forward(batch, threads):
        time.sleep(len(batch) * seconds_of_a_row[threads])

    return forward


class TestSplit:
    def test_many_passes_on_one_core_each_where_that_does_more(self):
        split = measure(works_for({1: 0.004, 2: 0.0035}), ROW, cores=2, batch=2)
        assert (split.workers, split.threads, split.cores) == (2, 1, 2)
        assert split.rows_per_s > 0

    def test_one_pass_on_all_cores_where_that_does_more(self):
        split = measure(works_for({1: 0.02, 2: 0.002}), ROW, cores=2, batch=2)
        assert (split.workers, split.threads) == (1, 2)

    def test_many_passes_also_where_one_on_all_cores_does_hardly_more(self):
        split = measure(works_for({1: 0.04, 2: 0.0195}), ROW, cores=2, batch=2)
        assert (split.workers, split.threads) == (2, 1)

    def test_a_pass_that_somebody_disturbed_decides_nothing(self):
        passes = []

        def forward(batch, threads):
            passes.append(threads)
            time.sleep(0.03 if threads == 1 and len(passes) < 8 else {1: 0.004, 2: 0.0035}[threads])

        split = measure(forward, ROW, cores=2, batch=2)
        assert (split.workers, split.threads) == (2, 1)

    def test_one_core_is_not_measured(self):
        assert measure(None, ROW, cores=1, batch=2).as_dict()["measured_rows_per_s"] == 0

    def test_who_is_stopped_measures_no_further(self):
        seen = []
        split = measure(
            lambda batch, threads: seen.append(threads), ROW, cores=4, batch=1, stopped=lambda: len(seen) >= 2
        )
        assert set(seen) == {1}  # the four that began together, and none with more threads
        assert (split.workers, split.threads) == (4, 1)

    def test_every_split_is_measured_once_even_beyond_the_budget(self):
        seen = []

        def slow(batch, threads):
            seen.append(threads)
            time.sleep(0.06)

        measure(slow, ROW, cores=4, batch=1, budget_s=0)
        assert sorted(seen) == [1, 1, 1, 1, 2, 2, 4]
