"""What the dimensions of a traced tensor mean: channels, rows, columns.

The engine keeps every feature map as [1, C, h, w]. A traced model may hold the same numbers as [1, h·w, C] tokens, as
[1, h, w, C] for a layer norm, or with C split into heads. A ``Layout`` says how such a tensor is read from the
canonical one, so that views and permutations cost nothing and do not hide where things are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

ONE, ROWS, COLS, CELLS = '1', 'h', 'w', 'hw'  # a dimension of size 1; rows; columns; rows and columns flattened
_PLAIN = (ONE, 0, ROWS, COLS)


@dataclass(frozen=True)
class Layout:
    """Dimensions of a traced tensor over a canonical [1, C, h, w].

    dims:    what each dimension of the traced tensor is: ONE, ROWS, COLS, CELLS, or the number of a channel factor.
    factors: sizes of the channel factors; their product is C, and the first varies slowest.
    """

    dims: tuple[str | int, ...]
    factors: tuple[int, ...]

    @property
    def channels(self) -> int:
        return math.prod(self.factors)

    @property
    def is_plain(self) -> bool:
        """Whether the traced tensor is the canonical one."""
        return self.dims == _PLAIN and len(self.factors) == 1

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Shape of the traced tensor on a grid of ``size`` (h, w)."""
        known = {ONE: 1, ROWS: size[0], COLS: size[1], CELLS: size[0] * size[1]}
        return tuple(self.factors[d] if isinstance(d, int) else known[d] for d in self.dims)

    def normalised(self, size: tuple[int, int]) -> Layout:
        """The same layout with all dimensions of size 1 called ONE, so that they broadcast."""
        names = {ROWS: ROWS, COLS: COLS, CELLS: CELLS, ONE: ONE}
        if size[0] == 1:
            names.update({ROWS: ONE, CELLS: COLS})
        if size[1] == 1:
            names.update({COLS: ONE, CELLS: ONE if size[0] == 1 else ROWS})
        dims = tuple((d if self.factors[d] > 1 else ONE) if isinstance(d, int) else names[d] for d in self.dims)
        return Layout(dims, self.factors)

    def to_raw(self, canonical: Tensor) -> Tensor:
        """The traced tensor, from [1, C, h, w]."""
        if self.is_plain:
            return canonical
        size = (canonical.shape[-2], canonical.shape[-1])
        axes = self._axes()
        split = canonical.reshape(*self.factors, *size)
        return split.permute(axes).reshape(self.shape(size))

    def from_raw(self, raw: Tensor, size: tuple[int, int]) -> Tensor:
        """[1, C, h, w], from the traced tensor."""
        axes = self._axes()
        full = (*self.factors, *size)
        inverse = [axes.index(i) for i in range(len(axes))]
        return raw.reshape([full[a] for a in axes]).permute(inverse).reshape(1, self.channels, *size)

    def _axes(self) -> list[int]:
        """Order in which the axes (*factors, h, w) appear in the traced tensor; absent ones (of size 1) come last."""
        rows, cols = len(self.factors), len(self.factors) + 1
        expand = {ONE: [], ROWS: [rows], COLS: [cols], CELLS: [rows, cols]}
        axes = [a for d in self.dims for a in ([d] if isinstance(d, int) else expand[d])]
        return axes + [a for a in range(cols + 1) if a not in axes]


def image(channels: int, size: tuple[int, int]) -> Layout:
    """[1, C, h, w]."""
    return Layout(_PLAIN, (channels,)).normalised(size)


def viewed(layout: Layout, size: tuple[int, int], shape: Sequence[int]) -> Layout | None:
    """The layout after ``view(shape)``; None where the view mixes channels and positions, or cuts a row.

    Raises ValueError where channel factors would be merged out of their canonical order (see ``canonical_order``).
    """
    atoms: list[tuple[str | int, int]] = []
    for dim in layout.dims:
        if dim == CELLS:
            atoms += [(ROWS, size[0]), (COLS, size[1])]
        elif dim != ONE:
            atoms.append((dim, layout.factors[dim] if isinstance(dim, int) else size[0] if dim == ROWS else size[1]))
    atoms = [(label, n) for label, n in atoms if n > 1]
    dims: list[str | int | tuple[int, int]] = []  # (first factor, position among its pieces) for channels
    pieces: dict[int, list[int]] = {}
    merged: dict[int, list[int]] = {}
    wanted = [int(n) for n in shape]
    i = j = 0
    while j < len(wanted):
        if wanted[j] == 1:
            dims.append(ONE)
            j += 1
            continue
        group, left, right = [atoms[i]], atoms[i][1], wanted[j]
        i, first, j = i + 1, j, j + 1
        while left != right:
            if left < right:
                group.append(atoms[i])
                left *= atoms[i][1]
                i += 1
            else:
                right *= wanted[j]
                j += 1
        labels = [label for label, _ in group]
        new = list(wanted[first:j])
        if labels in ([ROWS], [COLS]) and len([n for n in new if n > 1]) == 1:
            dims += [labels[0] if n > 1 else ONE for n in new]
        elif labels == [ROWS, COLS] and len([n for n in new if n > 1]) == 1:
            dims += [CELLS if n > 1 else ONE for n in new]
        elif all(isinstance(label, int) for label in labels):
            numbers = [label for label in labels if isinstance(label, int)]
            if numbers != sorted(numbers) or not _adjacent(numbers, layout.factors):
                raise ValueError('channel factors are merged out of order')
            pieces[numbers[0]] = [n for n in new if n > 1]
            merged[numbers[0]] = numbers
            position = 0
            for n in new:
                dims.append((numbers[0], position) if n > 1 else ONE)
                position += n > 1
        else:
            return None
    factors: list[int] = []
    number: dict[tuple[int, int], int] = {}
    for key in sorted(pieces):
        for position, n in enumerate(pieces[key]):
            number[key, position] = len(factors)
            factors.append(n)
    return Layout(tuple(number[d] if isinstance(d, tuple) else d for d in dims), tuple(factors) or (1,))


def _adjacent(numbers: list[int], factors: tuple[int, ...]) -> bool:
    between = [f for f in range(numbers[0], numbers[-1]) if f not in numbers]
    return all(factors[f] == 1 for f in between)
