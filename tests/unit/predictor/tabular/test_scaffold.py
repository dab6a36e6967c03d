"""What `moor init tabular` starts, where it cannot write."""

import resource
import subprocess

from moorage.api import ExitCode
from moorage.api.child import python


def test_a_disk_that_is_full_in_the_middle_of_training_leaves_no_traceback(tmp_path):
    """LightGBM's own writer says so in no OSError. A limit of a file's size stands for the disk's: 50 kB of 179."""
    (tmp_path / "scratch").mkdir()
    ended = subprocess.run(
        python("-m", "moorage_predictor.scaffolds", "tabular", str(tmp_path / "scratch")),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY)),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == ExitCode.UNAVAILABLE
    assert ended.stderr.endswith(f"moor init tabular: in {tmp_path}: File too large\n")
    assert "Traceback" not in ended.stderr
    assert (tmp_path / "scratch" / "breast-cancer" / "model.txt").exists()
