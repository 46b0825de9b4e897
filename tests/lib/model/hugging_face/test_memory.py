"""Loading takes the memory of the network once and of one tensor more, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

PROJECT = Path(__file__).resolve().parents[4]
SCRIPT = """
import json, sys, threading, time
from pathlib import Path
import torch
import transformers.models.llama.modeling_llama
from lib.model.hugging_face.loading import load_config, load_network

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) * 1024

config = load_config(Path(sys.argv[1]))
before, peak, going = anonymous(), 0, True

def watch():
    global peak
    while going:
        peak = max(peak, anonymous())
        time.sleep(0.001)  # or loading would wait for this thread

watching = threading.Thread(target=watch)
watching.start()
network = load_network("AutoModel", Path(sys.argv[1]), config)
going = False
watching.join()
sizes = [parameter.nbytes for parameter in network.parameters()]
print(json.dumps({"peak": peak - before, "network": sum(sizes), "largest": max(sizes)}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not say how much memory it uses")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_is_in_memory_once(dtype: torch.dtype, tmp_path: Path) -> None:
    # Mapped pages of the file are not counted: the system takes them back when it needs them.
    config = transformers.LlamaConfig(
        vocab_size=20_000, hidden_size=512, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=8
    )
    transformers.LlamaModel(config).to(dtype).save_pretrained(tmp_path)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["network"] > 100 * 2**20
    assert found["peak"] < found["network"] + found["largest"]
