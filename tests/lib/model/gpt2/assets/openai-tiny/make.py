"""Makes the files beside it, with TensorFlow itself: `python make.py`, in an environment that has tensorflow 2.

A GPT-2 as OpenAI's code names and shapes its variables, far smaller: `checkpoint`, `model.ckpt.*` and `hparams.json` as
in OpenAI's folders, and `expected.npz` with every variable as TensorFlow reads it back. All numbers are random, those
of norms and biases too. Tests only read these files; they need no TensorFlow.
"""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent
HPARAMS = {"n_vocab": 41, "n_ctx": 10, "n_embd": 12, "n_head": 3, "n_layer": 2}


def shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the variables that OpenAI's gpt-2/src/model.py makes."""
    width = HPARAMS["n_embd"]
    found: dict[str, tuple[int, ...]] = {
        "model/wpe": (HPARAMS["n_ctx"], width),
        "model/wte": (HPARAMS["n_vocab"], width),
    }
    for layer in range(HPARAMS["n_layer"]):
        block = f"model/h{layer}"
        for norm in ("ln_1", "ln_2"):
            found |= {f"{block}/{norm}/g": (width,), f"{block}/{norm}/b": (width,)}
        for part, inner, outer in (
            ("attn/c_attn", width, 3 * width),
            ("attn/c_proj", width, width),
            ("mlp/c_fc", width, 4 * width),
            ("mlp/c_proj", 4 * width, width),
        ):
            found |= {f"{block}/{part}/w": (1, inner, outer), f"{block}/{part}/b": (outer,)}
    return found | {"model/ln_f/g": (width,), "model/ln_f/b": (width,)}


def main() -> None:
    """Writes the files."""
    v1 = tf.compat.v1
    v1.disable_eager_execution()
    draw = np.random.default_rng(0).standard_normal
    for name, shape in shapes().items():
        v1.get_variable(name, initializer=(0.3 * draw(shape)).astype(np.float32))
    prefix = str(HERE / "model.ckpt")
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        v1.train.Saver(save_relative_paths=True).save(session, prefix, write_meta_graph=False)
    reader = tf.train.load_checkpoint(prefix)
    tensors = {name: reader.get_tensor(name) for name in sorted(reader.get_variable_to_shape_map())}
    np.savez(HERE / "expected.npz", **tensors)
    (HERE / "hparams.json").write_text(json.dumps(HPARAMS, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
