"""What the single-frame models become before a joint stage of a fine pair."""

from __future__ import annotations

import torch

from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.models.remote import RemoteModel
from dedelayed_ros.train.pretrain import remote_for_training


def refined(coarse: LocalModel) -> LocalModel:
    """A fine local model that begins as ``coarse``: four equal logits where it had one, and fusion from nothing. One
    that is fine already stays as it is.
    """
    if coarse.fine:
        return coarse
    fine = LocalModel(fine=True)
    state = coarse.state_dict()
    state['head.weight'] = state['head.weight'].transpose(0, 1).repeat(1, 1, 2, 2)
    state['fusion.expand.weight'] = torch.zeros_like(state['fusion.expand.weight'])
    fine.load_state_dict(fine.state_dict() | state)
    return fine


def divided(whole: RemoteModel, parts: int) -> RemoteModel:
    """``whole`` with features that describe parts × parts pieces of a cell; what makes and reads them begins anew. One
    that does so already stays as it is.
    """
    if whole.parts == parts:
        return whole
    model = remote_for_training(parts)
    anew = ('bottleneck.', 'feature_head.')
    state = {name: value for name, value in whole.state_dict().items() if not name.startswith(anew)}
    model.load_state_dict(model.state_dict() | state)
    return model
