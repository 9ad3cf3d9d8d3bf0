"""Reuters-21578 R8: newswire texts of eight topics, in the usual split."""

from autopeft.assets._topics import topics_asset

ASSET = topics_asset(
    name="reuters-r8",
    summary="newswire texts of eight topics, 5,485 to train and 2,189 to test (Reuters-21578)",
    table="reuters-r8",
)
