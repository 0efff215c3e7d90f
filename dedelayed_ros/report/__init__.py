"""What a run looked like: from what an observer wrote down to summary.json, report.html and the overlay video.

No ROS and no network in here: a :class:`Recording` and a :class:`Window` make an :class:`Account`, and everything that
people see is made from that.
"""

from __future__ import annotations

from dedelayed_ros.report.account import Account, DueFrame, Event, TrafficSample, Window, match, traffic_within
from dedelayed_ros.report.recording import ArrivedMask, Diagnostic, Recording, RecordingWriter, Tail
from dedelayed_ros.report.summary import screen, summarise
from dedelayed_ros.report.write import Paths, write

__all__ = [
    'Account',
    'ArrivedMask',
    'Diagnostic',
    'DueFrame',
    'Event',
    'Paths',
    'Recording',
    'RecordingWriter',
    'Tail',
    'TrafficSample',
    'Window',
    'match',
    'screen',
    'summarise',
    'traffic_within',
    'write',
]
