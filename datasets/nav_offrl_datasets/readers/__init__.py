"""Guarded reading of containers, codecs and files of unknown origin; no format of a log as such."""
