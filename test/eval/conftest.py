"""The evaluations are tested on the clips that training is tested on; make them importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / 'train'))
