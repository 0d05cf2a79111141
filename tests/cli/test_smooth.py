"""The command line audits a smoothed classifier."""

from robustly.cli.app import main
from robustly.core.records import read_record


def test_smooth(tmp_path, capsys):
    (tmp_path / "net.py").write_text(
        "import torch\ndef build():\n    return lambda z: torch.stack((z[:, 0], 1 - z[:, 0]), 1)\n"
    )
    import numpy as np

    np.savez(tmp_path / "d.npz", x=np.array([[0.95], [0.51]], dtype=np.float32), y=np.array([0, 0]))
    words = ["audit", f"{tmp_path}/net.py:build", f"{tmp_path}/d.npz", "--threat", "l2:0.05", "--smooth", "0.25"]
    assert main([*words, "--range", "0,1", "--out", str(tmp_path / "run"), "-v"]) == 0
    record = read_record(tmp_path / "run")
    assert record.plan == "smoothed"
    assert record.rows[0].verdict == "certified"
    assert record.rows[1].verdict in ("misclassified", "unknown", "broken")
    said = capsys.readouterr().out
    assert "verdicts are about the smoothed model" in said
    assert "nothing about the model itself" in said
    assert main([*words[:-1], "gauss:0.25", "--out", str(tmp_path / "other")]) == 2
    assert "gaussian" in capsys.readouterr().err
