"""What an assignment calls a split: `cpu_parallel+pim 5/16`, written and read here alone.

Apart from `pimloop.partitioner.splits`, so that whoever reads names loads no file formats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"(\w+)\+(\w+)(?: ([1-9]\d*)/([1-9]\d*))?")


@dataclass(frozen=True)
class SplitName:
    """What the name of a split says, or that of the pair of its devices.

    Attributes
    ----------
    devices
        As of `pimloop.partitioner.splits.Split`.
    share, shares
        The second device computes `share` of `shares` equal parts; 0 of 0: of any share.
    """

    devices: tuple[str, str]
    share: int = 0
    shares: int = 0

    @classmethod
    def of(cls, text: str) -> SplitName | None:
        """Return what a name says; None where it is no split's and no pair's.

        >>> SplitName.of("cpu_parallel+pim 5/16")
        SplitName(devices=('cpu_parallel', 'pim'), share=5, shares=16)
        >>> SplitName.of("cpu_parallel+pim").shares, SplitName.of("pim")
        (0, None)
        """
        match = _NAME.fullmatch(text)
        if match is None:
            return None
        return cls((match[1], match[2]), int(match[3] or 0), int(match[4] or 0))

    @property
    def pair(self) -> str:
        """What splits between these devices are called together, whatever the shares."""
        return "+".join(self.devices)

    def __str__(self) -> str:
        """Return the name.

        >>> str(SplitName(("cpu_parallel", "pim"), 5, 16))
        'cpu_parallel+pim 5/16'
        """
        return f"{self.pair} {self.share}/{self.shares}" if self.shares else self.pair
