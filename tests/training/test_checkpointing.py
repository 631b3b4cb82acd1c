import os
import socket
import subprocess
import sys
from pathlib import Path


def test_a_model_in_shards_is_saved_whole_and_resumes_bit_equal(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    script = Path(__file__).with_name("sharded_checkpoint.py")
    root = script.parents[2]
    result = subprocess.run(
        [sys.executable, *launcher, str(script), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
