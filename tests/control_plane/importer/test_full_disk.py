from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from control_plane.importer.errors import DiskFull
from control_plane.importer.model import import_model
from control_plane.importer.staged import StagedModel
from tests.fixtures.requirements import missing

# The disk is a tmpfs of 300 KB in a mount namespace of its own: the model needs about 450 KB.
_ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from control_plane.importer import staged
from control_plane.importer.errors import DiskFull
from control_plane.importer.model import import_model
if sys.argv[3] == "unreserved":
    staged.StagedModel.reserve = lambda self, need_bytes: None
try:
    import_model(sys.argv[1], Path(sys.argv[2]))
except DiskFull as error:
    print(error)
    print(len(list(Path(sys.argv[2]).iterdir())))
"""
_MOUNT = 'mount -t tmpfs -o size=300k tmpfs "$1" && shift && exec "$@"'


@pytest.mark.parametrize("reserve", ["reserved", "unreserved"])
def test_a_full_disk_is_said_in_one_line_and_nothing_is_left(
    directory: Path, tmp_path: Path, reserve: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-m", "true"], check=False).returncode:
        missing("mount", "a small disk needs the right to mount one")
    command = [sys.executable, "-c", _ON_A_SMALL_DISK, str(directory), str(disk), reserve]
    ended = subprocess.run(
        [str(unshare), "-m", "sh", "-c", _MOUNT, "sh", str(disk), *command],
        capture_output=True,
        text=True,
        check=True,
    )
    message, left = ended.stdout.splitlines()
    assert "free some" in message
    assert left == "0"


def test_a_model_that_cannot_fit_is_refused_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="MiB left"):
        StagedModel(tmp_path).reserve(1 << 60)


def test_a_read_only_place_is_no_full_disk(directory: Path) -> None:
    with pytest.raises(Exception, match="check the path") as caught:
        import_model(directory, Path("/proc/models"))
    assert not isinstance(caught.value, DiskFull)
