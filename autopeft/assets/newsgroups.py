"""20 Newsgroups: posts of twenty groups, in the usual split by date."""

from autopeft.assets._topics import topics_asset

ASSET = topics_asset(
    name="newsgroups",
    summary="posts of twenty newsgroups, 11,293 to train and 7,528 to test (20 Newsgroups)",
    table="20newsgroups",
)
