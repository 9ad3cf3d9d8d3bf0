"""Says what to try and why: rules from the literature over profiles and estimates, without training."""

from autopeft.recommend.recommender import recommend

__all__ = ["recommend"]
