"""What the answers of the cloud take on the way down, in real records."""

from __future__ import annotations

import numpy as np
import torch

from dedelayed_ros.eval.delay_cases import Pair, Scene
from dedelayed_ros.greeting import feature_format
from dedelayed_ros.link import FeaturesDown
from dedelayed_ros.train.footage import Clip


@torch.inference_mode()
def downlink(pair: Pair, model: str, clips: list[Clip], rate: float) -> dict[str, float]:
    """``downlink_kbps``: records with headers, one a frame, ``rate`` frames a second, mean over ``clips``;
    ``downlink_bytes_p95`` of one record.
    """
    pack = feature_format(model).pack
    sizes = []
    for clip in clips:
        scene = Scene(pair, clip)
        for seen in range(0, len(clip), 7):
            features = scene.features(seen, 100.0, coded=False)
            sent = features if pair.codec is None else pair.codec.encode(features)
            data = pack(sent[0].numpy())
            shape = (sent.shape[1], sent.shape[2], sent.shape[3])
            record = FeaturesDown(seen, seen, seen, 100.0, seen, 1.0, 1.0, shape, data)
            sizes.append(len(record.pack()))
    return {
        'downlink_kbps': round(float(np.mean(sizes)) * 8e-3 * rate, 1),
        'downlink_bytes_p95': int(np.quantile(sizes, 0.95)),
    }
