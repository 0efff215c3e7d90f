"""How models become fine ones, and deep ones."""

from __future__ import annotations

from torch import nn

from dedelayed_ros.models.blocks import ResidualConv
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.models.remote import PARTS, RemoteModel
from dedelayed_ros.train.pretrain import remote_for_training


def refined(coarse: LocalModel, feature_channels: int) -> LocalModel:
    """A fine local model that begins as ``coarse``: four equal logits where it had one, and fusion from nothing. One
    that is fine already and takes as many ``feature_channels`` stays as it is.
    """
    if coarse.fine and coarse.feature_channels == feature_channels:
        return coarse
    fine = LocalModel(fine=True, feature_channels=feature_channels)
    state = {name: value for name, value in coarse.state_dict().items() if not name.endswith('.expand.weight')}
    if not coarse.fine:
        state['head.weight'] = state['head.weight'].transpose(0, 1).repeat(1, 1, 2, 2)
    fine.load_state_dict(fine.state_dict() | state)
    return fine


def divided(whole: RemoteModel, parts: int) -> RemoteModel:
    """``whole`` with features that describe parts × parts pieces of a cell; what makes and reads them begins anew. One
    that does so already stays as it is.
    """
    return whole if whole.parts == parts else _grown(whole, remote_for_training(parts=parts))


def refined_remote(coarse: RemoteModel, feature_channels: int) -> RemoteModel:
    """A fine remote model that has from ``coarse`` what fits into it: the backbone and its context above all. One that
    is fine already stays as it is.
    """
    if coarse.fine:
        return coarse
    return _grown(coarse, remote_for_training(parts=PARTS, fine=True, feature_channels=feature_channels))


_FIRST_SHARE = 0.1  # of what a new block would add: nothing at all could not be learnt from


def deepened(shallow: RemoteModel, depth: int) -> RemoteModel:
    """``shallow``, a fine model, with the further blocks of one of ``depth``, which add next to nothing at first. One
    that is as deep already stays as it is.
    """
    if shallow.deep >= depth:
        return shallow
    deep = remote_for_training(parts=shallow.parts, fine=True, deep=depth, feature_channels=shallow.feature_channels)
    old = shallow.state_dict()
    for name, block in deep.named_modules():
        if isinstance(block, ResidualConv) and block.unit.norm is not None and f'{name}.unit.conv.weight' not in old:
            nn.init.constant_(block.unit.norm.weight, _FIRST_SHARE)
    deep.load_state_dict(deep.state_dict() | old)
    return deep


def _grown(old: RemoteModel, new: RemoteModel) -> RemoteModel:
    """``new`` with what ``old`` has of the same name and shape, but for what makes and reads the features."""
    anew = ('bottleneck.', 'feature_head.')
    state = new.state_dict()
    kept = {
        name: value
        for name, value in old.state_dict().items()
        if name in state and value.shape == state[name].shape and not name.startswith(anew)
    }
    new.load_state_dict(state | kept)
    return new
