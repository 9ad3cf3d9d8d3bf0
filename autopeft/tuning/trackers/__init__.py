"""Experiment trackers that are told of every trial, each where its package is installed: one file a tracker."""

from autopeft.tuning.trackers._observer import TRACKERS, Tracked, check_trackers

__all__ = ["TRACKERS", "Tracked", "check_trackers"]
