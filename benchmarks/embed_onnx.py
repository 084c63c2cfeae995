"""all-MiniLM-L6-v2 as ONNX: `embed_onnx.py FOLDER`, with the peers' Python, adds model.onnx and model.int8.onnx to it.

The second one as its users make it: what makes up a BERT is fused, then all matrices are quantized to 8 bits; the
activations are at run time. Without VNNI instructions weights have 7 bits, as onnxruntime advises: sums would overflow.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from transformers import AutoConfig, AutoModel

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "last_hidden_state"


class Hidden(torch.nn.Module):
    """The model with its inputs in an order, and one output."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.bert = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.bert(input_ids=ids, attention_mask=mask, token_type_ids=kinds).last_hidden_state
        return hidden


def main() -> None:
    """Writes what is not there yet."""
    folder = Path(sys.argv[1])
    whole, fused, small = (folder / name for name in ("model.onnx", "model.fused.onnx", "model.int8.onnx"))
    if small.exists():
        return
    warnings.simplefilter("ignore")
    some = torch.ones(2, 8, dtype=torch.int64)
    torch.onnx.export(
        Hidden(folder),
        (some, some, torch.zeros_like(some)),
        whole,
        input_names=[*INPUTS],
        output_names=[OUTPUT],
        dynamic_axes={name: {0: "batch", 1: "length"} for name in (*INPUTS, OUTPUT)},
        opset_version=17,
        dynamo=False,
    )
    sizes = AutoConfig.from_pretrained(folder)
    bert = optimizer.optimize_model(
        str(whole), "bert", num_heads=sizes.num_attention_heads, hidden_size=sizes.hidden_size, opt_level=0
    )
    assert bert.get_fused_operator_statistics()["Attention"] == sizes.num_hidden_layers
    bert.save_model_to_file(str(fused))
    part = small.with_suffix(".part")
    quantize_dynamic(
        fused,
        part,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range="vnni" not in Path("/proc/cpuinfo").read_text(),
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    part.rename(small)


if __name__ == "__main__":
    main()
