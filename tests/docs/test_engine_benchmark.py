"""The benchmark of the engine runs the network of DECODE's authors from a checkout that cannot be imported as usual."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
NETWORK = '''
import torch

from . import blocks


class SigmaMUNet(torch.nn.Module):
    """Stand-in with the arguments of the authors' network, and paddings as their branches give them."""

    seen = []

    def __init__(
        self, ch_in, *, depth_shared, depth_union, initial_features, inter_features, upsample_mode, activation
    ):
        super().__init__()
        self.conv = torch.nn.Conv2d(ch_in, inter_features, 3, padding={padding!r})
        self.last = blocks.last(inter_features)
        self.activation = activation

    def forward(self, x):
        self.seen.append((x.shape, x[:, :, 0, 0].tolist()))
        return self.last(self.activation(self.conv(x)))
'''


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a checkout whose packages cannot be imported; only the files of its network can."""
    monkeypatch.setenv("DECODE_TREE", str(tmp_path))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("decode", "decode/neuralfitter", "decode/neuralfitter/models", "decode/neuralfitter/utils"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("from torch._six import container_abcs\nimport spline\n")
    blocks = "import torch\n\nfrom ..utils import gain\n\n\ndef last(n):\n    return torch.nn.Conv2d(n, gain.ONE, 1)\n"
    (tmp_path / "decode/neuralfitter/models/blocks.py").write_text(blocks)
    (tmp_path / "decode/neuralfitter/utils/gain.py").write_text("ONE = 1\n")
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "decode"]:
        del sys.modules[name]


@pytest.mark.parametrize("padding", [True, 1, "same"], ids=["master", "other branches", "release"])
def test_the_authors_network_runs_on_windows_of_three_frames(program: Path, padding: object) -> None:
    import engine

    module = program / "decode/neuralfitter/models/model_speced_impl.py"
    module.write_text(NETWORK.format(padding=padding))
    frames = torch.arange(5.0)[:, None, None].expand(5, 8, 12)
    engine.run_their_program(frames, filters=4, batch=3)()
    seen = sys.modules["decode.neuralfitter.models.model_speced_impl"].SigmaMUNet.seen
    assert [shape for shape, _ in seen] == [(3, 3, 8, 12), (2, 3, 8, 12)]
    assert [window for _, windows in seen for window in windows] == [
        [0, 0, 1],
        [0, 1, 2],
        [1, 2, 3],
        [2, 3, 4],
        [3, 4, 4],
    ]
