"""The version of this package; package.xml repeats it."""

VERSION = '0.1.0'
