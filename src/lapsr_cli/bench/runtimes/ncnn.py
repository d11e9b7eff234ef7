"""ncnn: the network in its own format, on the CPU."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from lapsr_cli.bench.runtimes.peer import Luma, Peer, PeerFailed, Work, package
from lapsr_cli.network.pyramid import NEGATIVE_SLOPE, LaplacianPyramid, Level

__all__ = ["load"]

_MAGIC = 7767517
_LEAKY_RELU = 2
_LIST = -23300
"""ncnn's key for parameter n where its value is a list: this minus n."""


def load(work: Work) -> Peer:
    """Winograd and packed layouts on, as they are by default; half precision off, for weights,
    features and arithmetic. Its pools of memory were tried and gave nothing.

    The graph is the one that ncnn's converter, pnnx, makes of the reference network, written here
    so that nobody needs pnnx. Raises PeerMissing, PeerFailed.
    """
    work.on_the_cpu("ncnn")
    ncnn = package("ncnn")
    net = ncnn.Net()
    option = net.opt
    option.num_threads = work.threads
    option.use_vulkan_compute = False
    option.use_fp16_packed = option.use_fp16_storage = option.use_fp16_arithmetic = False
    option.use_bf16_packed = option.use_bf16_storage = False
    layers = _Layers.of(work.model, work.scale)
    _succeed(net.load_param_mem(layers.text()), "load_param_mem")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.bin"
        path.write_bytes(layers.weights())
        _succeed(net.load_model(str(path)), "load_model")

    def enlarge(luma: Luma) -> Luma:
        run = net.create_extractor()
        _succeed(run.input("luma", ncnn.Mat(luma[None])), "input")  # (1, H, W)
        code, picture = run.extract("picture")  # (1, scale H, scale W)
        _succeed(code, "extract")
        enlarged: Luma = np.array(picture, copy=True)[0]
        return enlarged

    return Peer("ncnn", ncnn.__version__, enlarge)


class _Layer(NamedTuple):
    """``parameters`` as ncnn numbers them for this kind of layer."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    parameters: str


class _Layers:
    """A network in ncnn's format: a line of text for each layer, and the weights in the order of
    the lines, once for each use: ncnn knows no shared weights."""

    def __init__(self) -> None:
        self._layers = [_Layer("Input", (), "luma", "")]
        self._weights: list[bytes] = []

    @classmethod
    def of(cls, model: LaplacianPyramid, scale: int) -> _Layers:
        """The reference network from "luma" to "picture", which is that at ``scale``."""
        config, layers = model.config, cls()
        last = config.level_of(scale)
        picture = "luma"
        features = layers.convolve(picture, model.conv_in, activated=not config.shared)
        for number in range(1, last + 1):
            level = model.level(number)
            if config.shared:
                features = layers._shared_body(model, level, features)
            else:
                for conv in level.convs:
                    features = layers.convolve(features, conv, activated=True)
            features = layers.enlarge(features, level.up, activated=not config.shared)
            residual = layers.convolve(features, level.conv_res)
            if level.up_image is not None:
                residual = layers.add(layers.enlarge(picture, level.up_image), residual)
            picture = residual
        layers._rename_last("picture")
        return layers

    def _shared_body(self, model: LaplacianPyramid, level: Level, source: str) -> str:
        x = source
        for _ in range(model.config.recursions):
            h = self.activate(x)
            for conv in level.convs[:-1]:
                h = self.convolve(h, conv, activated=True)
            h = self.convolve(h, level.convs[-1])
            if model.config.skip == "ss":
                x = self.add(h, source)
            elif model.config.skip == "ds":
                x = self.add(h, x)
            else:
                x = h
        return self.activate(x)

    def activate(self, blob: str) -> str:
        return self._append("ReLU", (blob,), f"0={NEGATIVE_SLOPE}")

    def add(self, a: str, b: str) -> str:
        return self._append("BinaryOp", (a, b), "0=0")

    def convolve(self, blob: str, conv: nn.Module, *, activated: bool = False) -> str:
        """3x3 with zeros around, the activation after it in the same layer."""
        assert isinstance(conv, nn.Conv2d)
        self._keep(conv.weight, conv.bias)
        parameters = f"4=1 {_form(conv, conv.out_channels, activated)}"
        return self._append("Convolution", (blob,), parameters)

    def enlarge(self, blob: str, up: nn.Module, *, activated: bool = False) -> str:
        """A transposed convolution, cut to ``stride`` times the input's height and width."""
        assert isinstance(up, nn.ConvTranspose2d)
        stride = up.stride[0]
        before = (stride - 2) // 2 if up.padding == (0, 0) else stride // 2
        after = up.kernel_size[0] - stride - before
        cut = f"4={before} 14={before} 15={after} 16={after}"
        self._keep(up.weight.transpose(0, 1), up.bias)  # (out, in, k, k)
        form = _form(up, up.out_channels, activated)
        return self._append("Deconvolution", (blob,), f"3={stride} {cut} {form}")

    def text(self) -> str:
        """The file of layers. A blob may be read once: Split gives each reader its own."""
        readers = Counter(blob for layer in self._layers for blob in layer.inputs)
        lines, read = [], Counter[str]()
        blobs = len(self._layers)
        for kind, inputs, output, parameters in self._layers:
            names = []
            for blob in inputs:
                names.append(f"{blob}_{read[blob]}" if readers[blob] > 1 else blob)
                read[blob] += 1
            lines.append(_line(kind, output, names, [output], parameters))
            if readers[output] > 1:
                copies = [f"{output}_{number}" for number in range(readers[output])]
                blobs += len(copies)
                lines.append(_line("Split", f"split_{output}", [output], copies, ""))
        return "\n".join([str(_MAGIC), f"{len(lines)} {blobs}", *lines, ""])

    def weights(self) -> bytes:
        """The file of weights: kernels (out, in, k, k), each after a zero for "in fp32", and
        biases."""
        return b"".join(self._weights)

    def _keep(self, kernel: Tensor, bias: Tensor | None) -> None:
        self._weights.append(np.int32(0).tobytes())
        for tensor in (kernel, bias):
            if tensor is not None:
                self._weights.append(tensor.detach().contiguous().numpy().tobytes())

    def _append(self, kind: str, inputs: tuple[str, ...], parameters: str) -> str:
        output = f"blob{len(self._layers)}"
        self._layers.append(_Layer(kind, inputs, output, parameters))
        return output

    def _rename_last(self, output: str) -> None:
        self._layers[-1] = self._layers[-1]._replace(output=output)


def _line(kind: str, name: str, inputs: list[str], outputs: list[str], parameters: str) -> str:
    counts = f"{len(inputs)} {len(outputs)}"
    return " ".join([kind, name, counts, *inputs, *outputs, parameters])


def _form(conv: nn.Conv2d | nn.ConvTranspose2d, channels: int, activated: bool) -> str:
    """What both kinds of convolution have: channels, kernel, bias, weights, activation."""
    bias = int(conv.bias is not None)
    form = f"0={channels} 1={conv.kernel_size[0]} 5={bias} 6={conv.weight.numel()}"
    return f"{form} 9={_LEAKY_RELU} {_LIST - 10}=1,{NEGATIVE_SLOPE}" if activated else form


def _succeed(code: int, step: str) -> None:
    """ncnn tells by a number."""
    if code != 0:
        raise PeerFailed(f"ncnn: {step} gave {code}")
