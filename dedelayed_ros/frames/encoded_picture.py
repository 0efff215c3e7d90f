"""One picture as it travels: H.264 bytes together with the motion that they contain."""

from __future__ import annotations

from dataclasses import dataclass

from dedelayed_ros.frames.motion_field import MotionField


@dataclass(frozen=True)
class EncodedPicture:
    """A picture of an H.264 stream with P-frames and one reference only.

    data:        Annex B with SPS and PPS in band before every key frame. One access unit; after pictures that a source
                 had to skip, theirs too, in decoding order, the last one being this picture.
    keyframe:    decoding can begin here.
    size:        (H, W) of the picture to show, in pixels. H.264 holds even sizes, so that a decoder gets up to one row
                 and one column more, which it cuts off.
    motion:      from the previous picture that was delivered to this one; the identity for the first.
    intra_ratio: share of blocks without a vector, 0…1. New content has none: a scene cut shows here.
    """

    data: bytes
    keyframe: bool
    size: tuple[int, int]
    motion: MotionField
    intra_ratio: float

    def then(self, newer: EncodedPicture) -> EncodedPicture:
        """Both pictures as one delivery, when the reader was too late for this one: ``newer`` is the one to show."""
        data = newer.data if newer.keyframe else self.data + newer.data
        return EncodedPicture(
            data=data,
            keyframe=self.keyframe or newer.keyframe,
            size=newer.size,
            motion=self.motion.compose(newer.motion),
            intra_ratio=max(self.intra_ratio, newer.intra_ratio),
        )
